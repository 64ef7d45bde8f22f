"""Send invalid requests of every kind: each is refused with a message, without a traceback or a leak."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.oci.bad_input_cases import (
    GOOD,
    MEBIBYTE,
    SERVICE,
    Cases,
    Server,
    bodies,
    credentials,
    digests,
    manifests,
    names,
    queries,
    ranges,
    tags,
)


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
        # After all tests, the log has no traceback and the server still answers.
        assert "Traceback" not in found.log()
        assert found.ask("GET", found.api)[0] == 200
    finally:
        found.kill()


@pytest.mark.parametrize("cases", [names, digests, tags, manifests, bodies, queries, credentials, ranges])
def test_invalid_request_is_refused_with_a_message(server: Server, cases: Cases) -> None:
    wrong = []
    for verb, path, body, headers in cases(server):
        status, text = server.ask(verb, path, body, **headers)
        if status == 501 and "does not do this" in text:
            continue  # a path of no method is refused like an unsupported feature
        answer: Any = {}
        try:
            answer = json.loads(text)
        except ValueError:
            wrong.append(f"{verb} {path[:120]} {(body or b'')[:60]!r}: {status}, no JSON: {text[:100]}")
            continue
        message = answer["errors"][0]["message"] if "errors" in answer else answer.get("error", {}).get("message", "")
        if not 400 <= status < 500 or len(message) < 8:
            wrong.append(f"{verb} {path[:120]} {(body or b'')[:60]!r} {headers}: {status} {text[:100]}")
    assert not wrong, "\n".join(wrong)


def test_there_are_at_least_300_cases(server: Server) -> None:
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
def test_malformed_http_is_refused(server: Server, content: bytes) -> None:
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


def test_stalled_senders_get_408(server: Server) -> None:
    started = time.monotonic()
    # In parallel, since the server waits for its whole timeout in each.
    with ThreadPoolExecutor(len(BEGUN)) as pool:
        answers = list(pool.map(server.raw, BEGUN))
    assert time.monotonic() - started < 15
    for answer in answers:
        assert b"HTTP/1.1 408 " in answer
        assert b"stopped waiting" in answer
    # A request that was refused before its body was complete gets no second response.
    refused = server.raw(b"POST /v2/a/b/c/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc")
    assert refused.count(b"HTTP/1.1 ") == 1
    assert refused.startswith(b"HTTP/1.1 4")


def size(part: Path) -> int:
    """Return the size of a file, or 0 if it no longer exists."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def test_interrupted_upload_leaves_no_bytes(server: Server) -> None:
    head = f"POST {server.image}/app/blobs/uploads/?digest={GOOD} HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Length: 9999999\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    answer = server.raw(head.encode() + b"x" * 3_000_000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    folder = server.home / "state" / "uploads"
    deadline = time.monotonic() + 10
    # Other tests have left uploads open; they have no bytes.
    while sum(map(size, folder.iterdir())):
        assert time.monotonic() < deadline, list(folder.iterdir())


def test_memory_does_not_grow(server: Server) -> None:
    def flood() -> None:
        for verb, path, body, headers in [*manifests(server), *bodies(server), *credentials(server)]:
            server.ask(verb, path, body, **headers)

    flood()
    before = server.memory()
    flood()
    assert server.memory() - before < 30 * MEBIBYTE
