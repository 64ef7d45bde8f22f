"""Bad input of every kind at both halves: refused with a message, no traceback in the log, the server as before."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sandboxes import Sandbox

HOST = "us-central1-docker.pkg.dev"
SERVICE = "artifactregistry.googleapis.com"
OCI = "application/vnd.oci.image.manifest.v1+json"
GOOD = f"sha256:{'a' * 64}"
MEBIBYTE = 1 << 20


@dataclass
class Server(Sandbox):
    """A sandbox of its own, which waits one second for a request that stands still."""

    options: tuple[str, ...] = ("--patience", "1")
    token: str = ""

    @property
    def api(self) -> str:
        return f"/{SERVICE}/v1/projects/{self.project}/locations/us-central1/repositories"

    @property
    def image(self) -> str:
        return f"/v2/{HOST}/{self.project}/ml-images"

    def ask(self, verb: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Status and body; the path goes out as it is."""
        line = http.client.HTTPConnection("localhost", self.port, timeout=30)
        # http.client would refuse what is tested here.
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
        """All that comes back for some bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as line:
            line.sendall(content)
            return b"".join(iter(lambda: line.recv(65536), b""))

    def memory(self) -> int:
        """Resident bytes."""
        assert self.child is not None
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from tests.sandbox.oci.conftest import prepare

    home, project = tmp_path_factory.mktemp("bad"), f"ml-workbook-{secrets.token_hex(3)}"
    found = Server(home, project, token=prepare(home, project)["owner"])
    try:
        found.start()
        enable = f"/serviceusage.googleapis.com/v1/projects/{project}/services/{SERVICE}:enable"
        assert found.ask("POST", enable, b"{}")[0] == 200
        assert found.ask("POST", f"{found.api}?repositoryId=ml-images", b'{"format": "DOCKER"}')[0] == 200
        yield found
        # Whatever was sent: no traceback, and the server answers.
        assert "Traceback" not in found.log()
        assert found.ask("GET", found.api)[0] == 200
    finally:
        found.kill()


NAMES = (
    *(
        "UPPER",
        "a//b",
        "a/../b",
        "../a",
        "-a",
        "a-",
        "a..b",
        "_a",
        ".a",
        "a.",
        "a___b",
        "a%20b",
        "a%00b",
        "a%0ab",
        "%ff",
    ),
    *(
        "a%2f..%2fb",
        "..%2f..%2fetc",
        "a%5cb",
        "a%3ab",
        "a@b",
        "a+b",
        "~",
        "%C3%A4",
        "x" * 300,
        "a/" * 130 + "a",
        "a%252fb",
    ),
)
DIGESTS = (
    *("sha256:", "sha256:abc", f"sha256:{'A' * 64}", f"sha256:{'g' * 64}", f"sha256:{'a' * 65}", f"md5:{'a' * 32}"),
    *(
        f"sha512:{'a' * 64}",
        ":",
        f"SHA256:{'a' * 64}",
        f"sha256:{'a' * 63}%0a",
        "sha256:..%2f..",
        f"sha256%2f{'a' * 64}",
    ),
)
TAGS = (".a", "-a", "a" * 129, "a%20b", "a%00", "%C3%A4", "a+b", "a~b", "a%0ab", "*")
BODIES = (
    *(
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"1",
        b"\xff\xfe",
        b"{}{}",
        b"[" * 5000,
        b'{"a":' * 5000,
        b'{"nosuch": 1}',
        b"{'a': 1}",
    ),
    *(b'{"description": {}}', b'{"description": 1e999}', b'{"labels": 1}', b'{"labels": {"a": {}}}', b'{"labels": []}'),
    *(b'{"cleanupPolicies": {"p": {"condition": {"olderThan": "soon"}}}}', b'{"cleanupPolicies": {"p": 1}}'),
    *(b'{"cleanupPolicies": {"p": {"action": "DELETE", "condition": {"tagState": "SOMETIMES"}}}}', b'{"mode": "NO"}'),
    *(
        b'{"format": "NO"}',
        b'{"format": {}}',
        b'{"format": 999}',
        b'{"dockerConfig": []}',
        b'{"dockerConfig": {"no": 1}}',
    ),
)
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": GOOD, "size": 1}
MANIFESTS = (
    *(b"", b"{", b"[]", b"null", b"\xff", b"[" * 5000, b"{}", b'{"schemaVersion": 2}', b'{"schemaVersion": 1}'),
    *(
        json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": CONFIG, "layers": [], **change}).encode()
        for change in (
            *({"config": None}, {"config": 1}, {"config": {}}, {"config": {**CONFIG, "digest": "x"}}),
            *(
                {"config": {**CONFIG, "size": -1}},
                {"config": {**CONFIG, "size": "1"}},
                {"config": {**CONFIG, "size": 1e400}},
            ),
            *(
                {"layers": None},
                {"layers": {}},
                {"layers": [1]},
                {"layers": [{}]},
                {"layers": [CONFIG] * 3},
                {"manifests": []},
            ),
            *(
                {"schemaVersion": "2"},
                {"mediaType": "text/plain"},
                {"mediaType": 1},
                {"annotations": []},
                {"subject": 1},
            ),
            *(
                {"annotations": {"a": 1}},
                {"subject": {}},
                {"subject": {**CONFIG, "digest": ":"}},
                {"artifactType": 1},
                {},
            ),
        )
    ),
)
LISTS = ("", "/ml-images/packages", "/ml-images/dockerImages", "/ml-images/files")
QUERIES = (
    *(
        "pageSize=-1",
        "pageSize=x",
        "pageSize=1e3",
        "pageSize=99999999999",
        "pageToken=x",
        "pageToken=bnVsbA==",
        "pageToken=W10=",
    ),
    *(
        "pageToken=eyJhIjoxfQ==",
        "pageToken=%ff",
        "orderBy=no",
        "orderBy=name%20up",
        "filter=no%3D1",
        "filter=name%3D(",
        "filter=(",
    ),
    *("filter=name%3D%22", "filter=" + "name%3Da%20AND%20" * 50),
)
CREDENTIALS = (
    *(
        "Bearer",
        "Bearer ",
        "Bearer x",
        "bearer x y z",
        "Basic",
        "Basic x",
        "Basic eA==",
        "Basic eDp5",
        "Negotiate x",
        "x",
    ),
    *(
        "Bearer registry-",
        "Bearer registry-x.y",
        "Bearer registry-e30.e30",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer a.b.c",
    ),
    *(
        "Bearer \xff\xfe",
        "Bearer " + "x" * 8000,
        "Basic " + "x" * 8000,
        "Bearer ..",
        "Basic b2F1dGgyYWNjZXNzdG9rZW46eA==",
    ),
)
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


@pytest.mark.parametrize("cases", [names, digests, tags, manifests, bodies, queries, credentials, ranges])
def test_it_is_refused_with_a_message(server: Server, cases: Cases) -> None:
    wrong = []
    for verb, path, body, headers in cases(server):
        status, text = server.ask(verb, path, body, **headers)
        if status == 501 and "does not do this" in text:
            continue  # a path that is none: said in the words for what the sandbox lacks
        told: Any = {}
        try:
            told = json.loads(text)
        except ValueError:
            wrong.append(f"{verb} {path[:120]} {(body or b'')[:60]!r}: {status}, no JSON: {text[:100]}")
            continue
        message = told["errors"][0]["message"] if "errors" in told else told.get("error", {}).get("message", "")
        if not 400 <= status < 500 or len(message) < 8:
            wrong.append(f"{verb} {path[:120]} {(body or b'')[:60]!r} {headers}: {status} {text[:100]}")
    assert not wrong, "\n".join(wrong)


def test_there_are_enough_cases(server: Server) -> None:
    every = [names, digests, tags, manifests, bodies, queries, credentials, ranges]
    assert sum(len(list(cases(server))) for cases in every) >= 300


RAW = (
    b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"nonsense\r\n\r\n",
    b"GET  / HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"POST /v2/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    b"POST /v2/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /v2/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"POST /v2/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
    b"POST /v2/token HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    b"CONNECT pkg.dev:443 HTTP/1.1\r\nHost: pkg.dev:443\r\nConnection: close\r\n\r\n",
)


@pytest.mark.parametrize("content", RAW)
def test_what_is_no_request_is_refused(server: Server, content: bytes) -> None:
    head, _, body = server.raw(content).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")), head
    assert len(body) > 8


BEGUN = (
    b"GET /v2/ HTTP/1.1\r\nHost: loc",
    b"P",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: loc",
    b"POST /v2/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ngrant",
    b"POST /v2/token HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ngra",
)


def test_senders_that_stop_are_not_waited_for(server: Server) -> None:
    started = time.monotonic()
    # All at once: each takes the server's whole patience.
    with ThreadPoolExecutor(len(BEGUN)) as pool:
        answers = list(pool.map(server.raw, BEGUN))
    assert time.monotonic() - started < 15
    for answer in answers:
        assert b"HTTP/1.1 408 " in answer
        assert b"stopped waiting" in answer
    # Who was answered before the body was here is told nothing more.
    refused = server.raw(b"POST /v2/a/b/c/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc")
    assert refused.count(b"HTTP/1.1 ") == 1
    assert refused.startswith(b"HTTP/1.1 4")


def size(part: Path) -> int:
    """Bytes of a file that may be gone already."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def test_an_upload_that_stops_leaves_no_bytes(server: Server) -> None:
    head = f"POST {server.image}/app/blobs/uploads/?digest={GOOD} HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Length: 9999999\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    answer = server.raw(head.encode() + b"x" * 3_000_000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    folder = server.home / "state" / "uploads"
    deadline = time.monotonic() + 10
    # Other tests have left uploads open; they have no bytes.
    while sum(map(size, folder.iterdir())):
        assert time.monotonic() < deadline, list(folder.iterdir())


def test_its_memory_stays_flat(server: Server) -> None:
    def flood() -> None:
        for verb, path, body, headers in [*manifests(server), *bodies(server), *credentials(server)]:
            server.ask(verb, path, body, **headers)

    flood()
    before = server.memory()
    flood()
    assert server.memory() - before < 30 * MEBIBYTE
