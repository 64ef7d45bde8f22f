"""HTTP calls to the upstream of a remote repository, which bypass the sandbox's own proxy."""

from __future__ import annotations

import os
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    import requests

SECONDS = (5, 60)  # to connect, and between two bytes
CHUNK = 1 << 20
_PAGE_LIMIT = 64 << 20  # bytes of an index
_FILE_LIMIT = 9_900_000_000  # bytes; "9.9 GB per request", https://cloud.google.com/artifact-registry/quotas

_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Unreachable(Exception):
    """The upstream does not answer, or its answer is invalid; the message says why."""


class Missing(Exception):
    """The upstream answers 404 or 410."""


class Credentials(tuple[str, str]):
    """The user name and the password for an upstream."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Hide the password from logs."""
        return "Credentials(…)"


def session() -> requests.Session:
    """Return a session that uses the user's own proxy, if any, and not the sandbox."""
    # Imported here because it would make the sandbox's start a tenth longer, and most learners use no upstream.
    import requests

    made = requests.Session()
    # The proxy in the environment is this sandbox.
    if proxy := os.environ.get("WORKBOOK_UPSTREAM_PROXY", ""):
        made.proxies = {"http": proxy, "https": proxy}
    made.headers["User-Agent"] = "artifact-registry-workbook"
    return made


def of_same_origin(url: str, address: str, credentials: Credentials | None) -> Credentials | None:
    """Return the credentials if a URL has the upstream's own origin, else None."""
    here, there = urlsplit(url), urlsplit(address)
    return credentials if (here.scheme, here.netloc) == (there.scheme, there.netloc) else None


def fetch(url: str, accept: str, credentials: Credentials | None = None) -> requests.Response:
    """Return the upstream's response with its whole body, after redirects.

    Raises:
        Missing: for 404 and 410.
        Unreachable: for every other status but 200, and without a response.
    """
    import requests

    try:
        with (
            session() as opened,
            opened.get(url, headers={"Accept": accept}, auth=credentials, timeout=SECONDS, stream=True) as answer,
        ):
            check_status(answer)
            body = b""
            for chunk in answer.iter_content(CHUNK):
                body += chunk
                if len(body) > _PAGE_LIMIT:
                    raise Unreachable(f"an index of more than {_PAGE_LIMIT} bytes")
            answer._content = body
            return answer
    except requests.RequestException as error:
        raise Unreachable(type(error).__name__) from None


def download(url: str, path: Path, credentials: Credentials | None = None) -> None:
    """Download a file of the upstream to a path. Raises the same exceptions as `fetch`."""
    import requests

    try:
        with (
            session() as opened,
            opened.get(url, auth=credentials, timeout=SECONDS, stream=True) as answer,
            path.open("wb") as file,
        ):
            check_status(answer)
            size = 0
            for chunk in answer.iter_content(CHUNK):
                size += len(chunk)
                if size > _FILE_LIMIT:
                    raise Unreachable(f"a file of more than {_FILE_LIMIT} bytes")
                file.write(chunk)
    except requests.RequestException as error:
        raise Unreachable(type(error).__name__) from None


def check_status(answer: requests.Response) -> None:
    """Raise Missing or Unreachable for every status but 200."""
    if answer.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise Missing
    if answer.status_code != HTTPStatus.OK:
        raise Unreachable(f"status {answer.status_code}")


def token(opened: requests.Session, challenge: str, credentials: Credentials | None) -> str:
    """Return a bearer token for a registry's challenge; without credentials, an anonymous one.

    https://distribution.github.io/distribution/spec/auth/token/

    Raises:
        Unreachable: if the challenge is not for a bearer token, or the token endpoint returns none.
    """
    fields = dict(_CHALLENGE.findall(challenge))
    realm = fields.get("realm", "")
    if not challenge.lower().startswith("bearer ") or urlsplit(realm).scheme not in ("http", "https"):
        raise Unreachable("it wants a credential")
    query = urlencode({name: fields[name] for name in ("service", "scope") if name in fields})
    answer = opened.get(f"{realm}?{query}", auth=credentials, timeout=SECONDS)
    check_status(answer)
    try:
        body = answer.json()
        return str(body.get("token") or body["access_token"])
    except (ValueError, KeyError, AttributeError):
        raise Unreachable("its token endpoint answers no token") from None
