"""Invalid requests of every kind to the registry and the API, and the server that they are sent to."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.sandboxes import Sandbox

HOST = "us-central1-docker.pkg.dev"
SERVICE = "artifactregistry.googleapis.com"
OCI = "application/vnd.oci.image.manifest.v1+json"
GOOD = f"sha256:{'a' * 64}"
MEBIBYTE = 1 << 20


@dataclass
class Server(Sandbox):
    """A sandbox that waits one second for a stalled request."""

    options: tuple[str, ...] = ("--patience", "1")
    token: str = ""

    @property
    def api(self) -> str:
        return f"/{SERVICE}/v1/projects/{self.project}/locations/us-central1/repositories"

    @property
    def image(self) -> str:
        return f"/v2/{HOST}/{self.project}/ml-images"

    def ask(self, verb: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Send a request with an unchecked path, and return status and body."""
        line = http.client.HTTPConnection("localhost", self.port, timeout=30)
        # http.client itself would refuse these paths.
        line._validate_path = lambda url: None  # type: ignore[method-assign]
        line._encode_request = lambda text: text.encode("latin-1")  # type: ignore[method-assign]
        try:
            sent = {"Authorization": f"Bearer {self.token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
            line.request(verb, path, body, sent)
            answer = line.getresponse()
            return answer.status, answer.read().decode()
        finally:
            line.close()

    def raw(self, content: bytes) -> bytes:
        """Send bytes, and return the whole response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as line:
            line.sendall(content)
            return b"".join(iter(lambda: line.recv(65536), b""))

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        assert self.child is not None
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


NAMES = (
    "UPPER", "a//b", "a/../b", "../a", "-a", "a-", "a..b", "_a", ".a", "a.", "a___b", "a%20b", "a%00b", "a%0ab", "%ff",
    "a%2f..%2fb", "..%2f..%2fetc", "a%5cb", "a%3ab", "a@b", "a+b", "~", "%C3%A4", "x" * 300, "a/" * 130 + "a",
    "a%252fb",
)  # fmt: skip
DIGESTS = (
    "sha256:", "sha256:abc", f"sha256:{'A' * 64}", f"sha256:{'g' * 64}", f"sha256:{'a' * 65}", f"md5:{'a' * 32}",
    f"sha512:{'a' * 64}", ":", f"SHA256:{'a' * 64}", f"sha256:{'a' * 63}%0a", "sha256:..%2f..", f"sha256%2f{'a' * 64}",
)  # fmt: skip
TAGS = (".a", "-a", "a" * 129, "a%20b", "a%00", "%C3%A4", "a+b", "a~b", "a%0ab", "*")
BODIES = (
    b"{", b"[]", b"null", b'"x"', b"1", b"\xff\xfe", b"{}{}", b"[" * 5000, b'{"a":' * 5000, b'{"nosuch": 1}',
    b"{'a': 1}", b'{"description": {}}', b'{"description": 1e999}', b'{"labels": 1}', b'{"labels": {"a": {}}}',
    b'{"labels": []}', b'{"cleanupPolicies": {"p": {"condition": {"olderThan": "soon"}}}}',
    b'{"cleanupPolicies": {"p": 1}}',
    b'{"cleanupPolicies": {"p": {"action": "DELETE", "condition": {"tagState": "SOMETIMES"}}}}', b'{"mode": "NO"}',
    b'{"format": "NO"}', b'{"format": {}}', b'{"format": 999}', b'{"dockerConfig": []}', b'{"dockerConfig": {"no": 1}}',
)  # fmt: skip
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": GOOD, "size": 1}
CHANGES: tuple[dict[str, object], ...] = (
    {"config": None}, {"config": 1}, {"config": {}}, {"config": {**CONFIG, "digest": "x"}},
    {"config": {**CONFIG, "size": -1}}, {"config": {**CONFIG, "size": "1"}}, {"config": {**CONFIG, "size": 1e400}},
    {"layers": None}, {"layers": {}}, {"layers": [1]}, {"layers": [{}]}, {"layers": [CONFIG] * 3}, {"manifests": []},
    {"schemaVersion": "2"}, {"mediaType": "text/plain"}, {"mediaType": 1}, {"annotations": []}, {"subject": 1},
    {"annotations": {"a": 1}}, {"subject": {}}, {"subject": {**CONFIG, "digest": ":"}}, {"artifactType": 1}, {},
)  # fmt: skip
MANIFESTS = (
    *(b"", b"{", b"[]", b"null", b"\xff", b"[" * 5000, b"{}", b'{"schemaVersion": 2}', b'{"schemaVersion": 1}'),
    *(
        json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": CONFIG, "layers": [], **change}).encode()
        for change in CHANGES
    ),
)
LISTS = ("", "/ml-images/packages", "/ml-images/dockerImages", "/ml-images/files")
QUERIES = (
    "pageSize=-1", "pageSize=x", "pageSize=1e3", "pageSize=99999999999", "pageToken=x", "pageToken=bnVsbA==",
    "pageToken=W10=", "pageToken=eyJhIjoxfQ==", "pageToken=%ff", "orderBy=no", "orderBy=name%20up", "filter=no%3D1",
    "filter=name%3D(", "filter=(", "filter=name%3D%22", "filter=" + "name%3Da%20AND%20" * 50,
)  # fmt: skip
CREDENTIALS = (
    "Bearer", "Bearer ", "Bearer x", "bearer x y z", "Basic", "Basic x", "Basic eA==", "Basic eDp5", "Negotiate x", "x",
    "Bearer registry-", "Bearer registry-x.y", "Bearer registry-e30.e30", "Bearer eyJhbGciOiJub25lIn0.e30.",
    "Bearer a.b.c", "Bearer \xff\xfe", "Bearer " + "x" * 8000, "Basic " + "x" * 8000, "Bearer ..",
    "Basic b2F1dGgyYWNjZXNzdG9rZW46eA==",
)  # fmt: skip

Case = tuple[str, str, bytes | None, dict[str, str]]
Cases = Callable[[Server], Iterator[Case]]


def names(server: Server) -> Iterator[Case]:
    for name in NAMES:
        yield "GET", f"{server.image}/{name}/manifests/v1", None, {}
        yield "PUT", f"{server.image}/{name}/manifests/v1", b"{}", {"Content_Type": OCI}
        yield "POST", f"{server.image}/{name}/blobs/uploads/", b"", {}
        yield "GET", f"{server.image}/{name}/tags/list", None, {}
        yield "GET", f"/{SERVICE}/v1/projects/{server.project}/locations/us-central1/repositories/{name}", None, {}
        yield "POST", f"{server.api}?repositoryId={name}", b'{"format": "DOCKER"}', {}


def digests(server: Server) -> Iterator[Case]:
    for digest in DIGESTS:
        yield "GET", f"{server.image}/app/blobs/{digest}", None, {}
        yield "DELETE", f"{server.image}/app/blobs/{digest}", None, {}
        yield "GET", f"{server.image}/app/referrers/{digest}", None, {}
        yield "POST", f"{server.image}/app/blobs/uploads/?digest={digest}", b"x", {}
        yield "POST", f"{server.image}/app/blobs/uploads/?mount={digest}&from=x", b"", {}
        yield "PUT", f"{server.image}/app/manifests/{digest}", b"{}", {"Content_Type": OCI}
        yield "GET", f"{server.api}/ml-images/packages/app/versions/{digest}", None, {}
        yield "GET", f"{server.api}/ml-images/files/{digest}:download?alt=media", None, {}


def tags(server: Server) -> Iterator[Case]:
    for tag in TAGS:
        yield "GET", f"{server.image}/app/manifests/{tag}", None, {}
        yield "PUT", f"{server.image}/app/manifests/{tag}", b"{}", {"Content_Type": OCI}
        yield "DELETE", f"{server.image}/app/manifests/{tag}", None, {}
        yield "GET", f"{server.image}/app/tags/list?n={tag}", None, {}


def manifests(server: Server) -> Iterator[Case]:
    for body in MANIFESTS:
        yield "PUT", f"{server.image}/app/manifests/v1", body, {"Content_Type": OCI}
    yield "PUT", f"{server.image}/app/manifests/v1", MANIFESTS[-1], {"Content_Type": "\xff"}


def bodies(server: Server) -> Iterator[Case]:
    for body in BODIES:
        yield "POST", f"{server.api}?repositoryId=new", body, {}
        yield "PATCH", f"{server.api}/ml-images?updateMask=nosuch", body, {}
        yield "POST", f"{server.api}/ml-images/packages/-/versions:batchDelete", body, {}
        yield "POST", f"{server.api}/ml-images/packages/app/tags?tagId=x", body, {}
    yield "POST", f"{server.api}?repositoryId=new", b" " * (17 * MEBIBYTE), {}
    yield "POST", "/v2/token", b"x" * (65 << 10), {}
    yield "POST", "/v2/token", b"\xff", {}


def queries(server: Server) -> Iterator[Case]:
    for path in LISTS:
        for query in QUERIES:
            yield "GET", f"{server.api}{path}?{query}", None, {}


def credentials(server: Server) -> Iterator[Case]:
    for value in CREDENTIALS:
        yield "GET", server.api, None, {"Authorization": value}
        yield "GET", f"{server.image}/app/tags/list", None, {"Authorization": value}
        yield (
            "GET",
            f"/v2/token?scope=repository:{HOST}/{server.project}/ml-images/app:pull",
            None,
            {"Authorization": value},
        )


def ranges(server: Server) -> Iterator[Case]:
    head = f"POST {server.image}/app/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    started = server.raw(f"{head}Authorization: Bearer {server.token}\r\n\r\n".encode()).decode()
    found = re.search(r"^location: (\S+)", started, re.IGNORECASE | re.MULTILINE)
    assert found, started
    for value in ("x", "1-", "-1", "5-1", "1-2/x", "bytes 7-9/10", "9" * 30 + "-1", "0-0/0"):
        yield "PATCH", found[1], b"xy", {"Content_Range": value}
    owner, _, token = found[1].rpartition("/")
    for path in ("none", "%ff", "..%2f", "x" * 3000, "%e9.%e9", f"{token[:-9]}%00", f"{token}/x"):
        for verb in ("GET", "PATCH", "PUT", "DELETE"):
            yield verb, f"{server.image}/app/blobs/uploads/{path}", b"", {}
            yield verb, f"{owner}/{path}", b"", {}
            yield verb, f"{owner.replace('upload', 'download')}/{path}", b"", {}
