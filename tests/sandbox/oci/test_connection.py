"""Send pipelined requests on one connection, and stall or disconnect in the middle of a download."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sandbox.oci.conftest import Registry

SIZE = 12 << 20  # larger than a connection's buffers and than one write of the server


def head(registry: Registry, verb: str, path: str, **headers: str) -> bytes:
    lines = [f"{verb} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {registry.tokens['owner']}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answers(content: bytes, *verbs: str) -> list[tuple[int, bytes]]:
    """Return status and body of each response, in the order of the requests."""
    found = []
    for verb in verbs:
        top, _, content = content.partition(b"\r\n\r\n")
        status, *fields = top.decode().split("\r\n")
        length = next(int(field.split(":")[1]) for field in fields if field.lower().startswith("content-length:"))
        length = 0 if verb == "HEAD" else length
        found.append((int(status.split()[1]), content[:length]))
        content = content[length:]
    assert content == b""
    return found


def read_all(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(1 << 20), b""))


@pytest.fixture(scope="module")
def blob(registry: Registry) -> tuple[str, bytes]:
    """Push a large blob, and return the path of its download and its content."""
    name, content = registry.name("large"), secrets.token_bytes(SIZE)
    digest = registry.push_blob(name, content)
    headers = {"Authorization": f"Bearer {registry.tokens['owner']}"}
    url = f"{registry.base}/v2/{name}/blobs/{digest}"
    return registry.session.get(url, headers=headers, allow_redirects=False, timeout=30).headers["Location"], content


def test_pipelined_requests_are_answered_in_order(registry: Registry, blob: tuple[str, bytes], fresh: str) -> None:
    path, content = blob
    small = b"a small blob"
    digest = f"sha256:{hashlib.sha256(small).hexdigest()}"
    upload = f"/v2/{fresh}/blobs/uploads/?digest={digest}"
    with socket.create_connection(("127.0.0.1", registry.port), timeout=30) as line:
        line.sendall(
            head(registry, "GET", path)
            + head(registry, "POST", upload, Content_Length=str(len(small)))
            + small
            + head(registry, "HEAD", path)
            + head(registry, "GET", path, Range=f"bytes=100-{SIZE - 101}")
            + head(registry, "GET", f"/v2/{fresh}/blobs/{digest}", Connection="close")
        )
        found = answers(read_all(line), "GET", "POST", "HEAD", "GET", "GET")
    assert [status for status, _ in found] == [200, 201, 200, 206, 302]
    assert found[0][1] == content
    assert found[3][1] == content[100:-100]
    assert registry.call("GET", f"{fresh}/blobs/{digest}").content == small


def test_refusal_before_the_body_keeps_the_connection(registry: Registry, fresh: str) -> None:
    body = secrets.token_bytes(300_000)
    refused = f"POST /v2/{fresh}/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", registry.port), timeout=30) as line:
        line.sendall(refused.encode() + body + head(registry, "GET", "/v2/", Connection="close"))
        found = answers(read_all(line), "POST", "GET")
    assert [status for status, _ in found] == [401, 200]


def test_stalled_readers_do_not_block_others(registry: Registry, blob: tuple[str, bytes]) -> None:
    path, content = blob
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(8):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", registry.port), timeout=30))
            line.sendall(head(registry, "GET", path, Connection="close"))
            assert line.recv(1) == b"H"
            lines.append(line)
        assert registry.call("GET", f"{registry.base}{path}").content == content
        for line in lines:
            assert read_all(line).endswith(content)


def test_disconnected_readers_cause_no_error(registry: Registry, blob: tuple[str, bytes]) -> None:
    path, content = blob
    for _ in range(8):
        with socket.create_connection(("127.0.0.1", registry.port), timeout=30) as line:
            line.sendall(head(registry, "GET", path))
            assert line.recv(100_000)
    assert registry.call("GET", f"{registry.base}{path}").content == content
    logs = [file.read_text() for file in registry.home.rglob("*.log")]
    assert logs
    assert not any("Traceback" in log for log in logs)
