"""A client for registries. It uses the environment's proxies and certificate authorities, as dockerd does."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import requests
from requests.utils import get_environ_proxies

from engine.errors import Refused
from engine.names import DOCKER_HUB

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_HUB = "registry-1.docker.io"
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_SECONDS = (15, 300)
# The longest manifest that distribution takes; a configuration may be larger, never a blob's size.
_DOCUMENT_BYTES = 4 * 1024**2


class Denied(Refused):
    """The registry refused the request. `code` is the registry's own."""

    def __init__(self, code: str, message: str, status: int = 500) -> None:
        super().__init__(message, status)
        self.code = code
        self.at_token = False


def denial(response: requests.Response) -> Denied:
    """Return dockerd's error for a registry's response."""
    try:
        first = response.json()["errors"][0]
        code, message = str(first.get("code", "")), str(first.get("message", ""))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        text = response.text[:400]
        if response.status_code in (401, 403):
            word = "unauthorized" if response.status_code == 401 else "denied"
            detail = (
                "authentication required"
                if response.status_code == 401
                else "requested access to the resource is denied"
            )
            return Denied(word.upper(), f"{word}: {text.strip() or detail}")
        return Denied("", f"received unexpected HTTP status: {response.status_code} {response.reason}")
    words = code.lower().replace("_", " ")
    return Denied(code, f"{words}: {message}" if message else words)


class Registry:
    """A connection to one registry."""

    def __init__(self, host: str, auth: dict[str, str]) -> None:
        self.host = _HUB if host == DOCKER_HUB else host
        self._auth = auth
        name = self.host.partition(":")[0]
        self.local = name == "localhost" or name.startswith("127.")
        self.base = f"{'http' if self.local else 'https'}://{self.host}"
        self._http = requests.Session()
        # As dockerd: no .netrc, and no proxy for this machine.
        self._http.trust_env = False
        if not self.local:
            self._http.proxies.update(get_environ_proxies(self.base))
            self._http.verify = _authorities()
        self._tokens: dict[str, str] = {}
        self._challenge = ""

    def ping(self) -> None:
        """Ask the registry whether it requires a sign-in, as dockerd does before a push. Raises Refused."""
        response = self._send("GET", f"{self.base}/v2/", {}, {})
        self._challenge = response.headers.get("WWW-Authenticate", "")
        if response.status_code not in (200, 401, 404):
            raise denial(response)

    def call(self, method: str, path: str, scope: str = "", **more: Any) -> requests.Response:
        """Send a request, with a token for `scope` if the registry requires one. Raises Refused.

        `scope` may consist of several, with blanks between them.
        """
        url = path if path.startswith("http") else urljoin(self.base, path)
        headers = dict(more.pop("headers", {}))
        # The token is for this registry alone, not for a server that it redirects to.
        own = url.startswith(f"{self.base}/")
        if own and self._challenge and scope not in self._tokens:
            self._tokens[scope] = self._sign_in(self._challenge, scope)
        if own and scope in self._tokens:
            headers["Authorization"] = self._tokens[scope]
        response = self._send(method, url, headers, more)
        if response.status_code == 401 and own and scope not in self._tokens:
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            self._tokens[scope] = self._sign_in(challenge, scope)
            body = more.get("data")
            if body is not None and hasattr(body, "seek"):
                body.seek(0)
            response = self._send(method, url, {**headers, "Authorization": self._tokens[scope]}, more)
        return response

    def _send(self, method: str, url: str, headers: dict[str, str], more: dict[str, Any]) -> requests.Response:
        try:
            return self._http.request(method, url, headers=headers, timeout=_SECONDS, allow_redirects=True, **more)
        except requests.ConnectionError as error:
            raise Refused(f'Get "{self.base}/v2/": {_reason(error, self.host)}') from None
        except requests.Timeout:
            raise Refused(
                f'Get "{self.base}/v2/": net/http: request canceled while waiting for connection '
                "(Client.Timeout exceeded while awaiting headers)"
            ) from None
        except requests.RequestException as error:
            raise Refused(f'Get "{self.base}/v2/": {error}') from None

    def sign_in(self) -> None:
        """Check name and password for `docker login`. Raises Denied."""
        response = self.call("GET", "/v2/", "", stream=False)
        if response.status_code == 401:
            refusal = denial(response)
            raise Denied(refusal.code, f"login attempt to {self.base}/v2/ failed with status: 401 Unauthorized", 401)
        if response.status_code != 200:
            raise denial(response)

    def _sign_in(self, challenge: str, scope: str) -> str:
        user, password = self._auth.get("username", ""), self._auth.get("password", "")
        if self._auth.get("registrytoken"):
            return f"Bearer {self._auth['registrytoken']}"
        if challenge.lower().startswith("basic"):
            if not user:
                raise Denied("UNAUTHORIZED", "no basic auth credentials")
            return requests.auth._basic_auth_str(user, password)
        parts = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if "realm" not in parts:
            raise Refused(f"the registry {self.host} asks for a sign-in that can't be understood: {challenge[:100]!r}")
        wanted: dict[str, Any] = {"service": parts.get("service", "")}
        if scope:
            wanted["scope"] = scope.split(" ")
        if user:
            wanted["account"] = user
        more: dict[str, Any] = {"params": wanted}
        if self._auth.get("identitytoken"):
            form = {
                **wanted,
                "grant_type": "refresh_token",
                "refresh_token": self._auth["identitytoken"],
                "client_id": "docker",
            }
            response = self._send("POST", parts["realm"], {}, {"data": form})
        else:
            if user:
                more["auth"] = (user, password)
            response = self._send("GET", parts["realm"], {}, more)
        if response.status_code != 200:
            refusal = denial(response)
            refusal.at_token = True
            raise refusal
        try:
            document = response.json()
            return f"Bearer {document.get('token') or document['access_token']}"
        except (ValueError, KeyError):
            raise Refused("authorization server did not include a token in the response") from None

    # ---- one repository

    def document(self, path: str, name: str, *, accept: str = "", limit: int = _DOCUMENT_BYTES) -> tuple[bytes, str]:
        """Return a manifest or a configuration, and its media type. Raises Denied."""
        scope = f"repository:{name}:pull"
        headers = {"Accept": accept} if accept else {}
        with self.call("GET", f"/v2/{name}/{path}", scope, headers=headers, stream=True) as response:
            if response.status_code != 200:
                raise denial(response)
            content = b""
            for block in response.iter_content(65536):
                content += block
                if len(content) > limit:
                    raise Refused(f"the registry's answer to {path} is longer than {limit} bytes")
            return content, response.headers.get("Content-Type", "").partition(";")[0]

    def download(self, name: str, digest: str, size: int, to: Path) -> Iterator[int]:
        """Download a blob to a file, check it, and yield the number of bytes so far. Raises Refused."""
        hashed, done = hashlib.sha256(), 0
        scope = f"repository:{name}:pull"
        with self.call("GET", f"/v2/{name}/blobs/{digest}", scope, stream=True) as response:
            if response.status_code != 200:
                raise denial(response)
            with to.open("wb") as file:
                for block in response.iter_content(1 << 20):
                    done += len(block)
                    if done > size:
                        raise Refused(f"filesystem layer verification failed for digest {digest}")
                    hashed.update(block)
                    file.write(block)
                    yield done
        if f"sha256:{hashed.hexdigest()}" != digest:
            raise Refused(f"filesystem layer verification failed for digest {digest}")

    def has(self, name: str, digest: str, scope: str) -> bool:
        """Return whether a repository has a blob. Raises Denied."""
        response = self.call("HEAD", f"/v2/{name}/blobs/{digest}", scope)
        if response.status_code in (401, 403):
            raise Denied("DENIED", "requested access to the resource is denied")
        return response.status_code == 200

    def mount(self, name: str, digest: str, source: str, scope: str) -> bool:
        """Mount a blob of another repository. Return False if the registry requires an upload instead."""
        query = urlencode({"mount": digest, "from": source})
        begun = self.call("POST", f"/v2/{name}/blobs/uploads/?{query}", f"{scope} repository:{source}:pull")
        return begun.status_code == 201

    def upload(self, name: str, digest: str, path: Path, scope: str) -> None:
        """Send a blob. Raises Denied."""
        begun = self.call("POST", f"/v2/{name}/blobs/uploads/", scope)
        if begun.status_code != 202:
            raise denial(begun)
        place = urljoin(self.base, begun.headers["Location"])
        with path.open("rb") as file:
            sent = self.call("PATCH", place, scope, data=file, headers={"Content-Type": "application/octet-stream"})
        if sent.status_code != 202:
            raise denial(sent)
        place = urljoin(self.base, sent.headers["Location"])
        joint = "&" if "?" in place else "?"
        done = self.call("PUT", f"{place}{joint}digest={digest}", scope)
        if done.status_code not in (201, 204):
            raise denial(done)

    def put_manifest(self, name: str, tag: str, content: bytes, scope: str) -> None:
        """Send a manifest. Raises Denied."""
        headers = {"Content-Type": json.loads(content)["mediaType"]}
        done = self.call("PUT", f"/v2/{name}/manifests/{tag}", scope, data=content, headers=headers)
        if done.status_code not in (201, 200, 202):
            raise denial(done)


def _authorities() -> str | bool:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if os.environ.get(name):
            return os.environ[name]
    return next((path for path in _BUNDLES if Path(path).is_file()), True)


def _name_server() -> str:
    """Return the name server as in an error of Go's resolver, or "" without one."""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return ""
    first = next((line.split()[1] for line in lines if line.startswith("nameserver ")), "")
    return f" on {first}:53" if first else ""


def _reason(error: requests.ConnectionError, host: str) -> str:
    text = str(error)
    port = host.rpartition(":")[2]
    if "refused" in text:
        return f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    if "Name or service" in text or "getaddrinfo" in text or "name resolution" in text:
        return f"dial tcp: lookup {host.partition(':')[0]}{_name_server()}: no such host"
    return text.rpartition(": ")[2].rstrip("')")
