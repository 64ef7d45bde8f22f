"""Check each requirement of OCI Distribution 1.1 on blobs and uploads, over a real socket."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sandbox.oci.conftest import Registry, digest_of
from tests.sandbox.oci.wire import (
    OCTETS,
    algorithms,
    check_stored,
    code,
    joined,
    open_upload,
    other,
)


def test_ping_returns_the_api_version(door: Registry) -> None:
    answer = door.call("GET", "")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


@algorithms
def test_missing_blob_is_unknown(registry: Registry, fresh: str, algorithm: str) -> None:
    assert code(registry.call("GET", f"{fresh}/blobs/{other(algorithm)}")) == "BLOB_UNKNOWN"
    assert registry.call("HEAD", f"{fresh}/blobs/{other(algorithm)}").status_code == 404


@algorithms
@pytest.mark.parametrize("content", [b"", b"{}", b"some bytes"], ids=["empty", "braces", "bytes"])
@pytest.mark.parametrize("way", ["post", "put", "patch", "stream"])
def test_pushed_blob_is_read_and_deleted(door: Registry, algorithm: str, content: bytes, way: str) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}", "second")
    digest = digest_of(content, algorithm)
    if way == "post":
        answer = door.call("POST", f"{name}/blobs/uploads/?digest={digest}", data=content, headers=OCTETS)
    else:
        location = open_upload(door, name)
        if way == "patch" and content:
            span = {"Content-Range": f"0-{len(content) - 1}", **OCTETS}
            patched = door.call("PATCH", location, data=content, headers=span)
            assert patched.status_code == 202
            assert patched.headers["Range"] == f"0-{len(content) - 1}"
            location = patched.headers["Location"]
        if way == "stream":
            patched = door.call("PATCH", location, data=iter([content[:4], content[4:]]), headers=OCTETS)
            assert patched.status_code == 202
            location = patched.headers["Location"]
        body = content if way == "put" or (way == "patch" and not content) else b""
        answer = door.call("PUT", joined(location, digest), data=body, headers=OCTETS)
    check_stored(door, answer, digest, content)
    head = door.call("HEAD", f"{name}/blobs/{digest}")
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(content)))
    assert head.headers["ETag"] == f'"{digest}"'
    assert door.call("DELETE", f"{name}/blobs/{digest}").status_code == 202
    assert door.call("HEAD", f"{name}/blobs/{digest}").status_code == 404


def chunked(size: int) -> Iterator[bytes]:
    piece = bytes(range(256)) * 256
    for _ in range(size // len(piece)):
        yield piece


def test_large_streamed_blob_comes_back(registry: Registry, fresh: str) -> None:
    size = 24 << 20
    digest = "sha256:" + hashlib.sha256(b"".join(chunked(size))).hexdigest()
    location = registry.call("PATCH", open_upload(registry, fresh), data=chunked(size)).headers["Location"]
    assert registry.call("PUT", joined(location, digest)).status_code == 201
    answer = registry.call("GET", f"{fresh}/blobs/{digest}")
    assert digest_of(answer.content) == digest
    part = registry.call("GET", f"{fresh}/blobs/{digest}", headers={"Range": f"bytes=100-{(8 << 20) + 99}"})
    assert part.content == answer.content[100 : (8 << 20) + 100]


@algorithms
@pytest.mark.parametrize("way", ["post", "put", "patch", "stream"])
def test_wrong_digest_is_refused(registry: Registry, fresh: str, algorithm: str, way: str) -> None:
    wrong = other(algorithm)
    if way == "post":
        answer = registry.call("POST", f"{fresh}/blobs/uploads/?digest={wrong}", data=b"content")
    else:
        location = open_upload(registry, fresh)
        if way != "put":
            body = b"content" if way == "patch" else iter([b"content"])
            location = registry.call("PATCH", location, data=body).headers["Location"]
        answer = registry.call("PUT", joined(location, wrong), data=b"content" if way == "put" else b"")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    assert registry.call("HEAD", f"{fresh}/blobs/{wrong}").status_code == 404


@pytest.mark.parametrize("digest", ["", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "A" * 64])
def test_malformed_digest_is_refused(registry: Registry, fresh: str, digest: str) -> None:
    answer = registry.call("PUT", joined(open_upload(registry, fresh), digest), data=b"x")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


def test_chunk_out_of_order_is_refused(registry: Registry, fresh: str) -> None:
    location = open_upload(registry, fresh)
    answer = registry.call("PATCH", location, data=b"later", headers={"Content-Range": "5-9", **OCTETS})
    assert (answer.status_code, code(answer)) == (416, "RANGE_INVALID")
    status = registry.call("GET", location)
    assert (status.status_code, status.headers["Location"]) == (204, location)
    answer = registry.call("PATCH", location, data=b"first", headers={"Content-Range": "0-4", **OCTETS})
    assert answer.status_code == 202
    answer = registry.call(
        "PUT", joined(location, digest_of(b"firstlast")), data=b"last", headers={"Content-Range": "9-12"}
    )
    assert (answer.status_code, code(answer)) == (416, "RANGE_INVALID")
    status = registry.call("GET", location)
    assert (status.status_code, status.headers["Range"]) == (204, "0-4")


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_second_chunk_is_refused_and_the_upload_stays_usable(registry: Registry, fresh: str, method: str) -> None:
    location = open_upload(registry, fresh)
    assert registry.call("PATCH", location, data=b"first").status_code == 202
    url = location if method == "PATCH" else joined(location, digest_of(b"firstsecond"))
    answer = registry.call(method, url, data=b"second", headers={"Content-Range": "5-10"})
    assert (answer.status_code, code(answer)) == (405, "UNSUPPORTED")
    check_stored(registry, registry.call("PUT", joined(location, digest_of(b"first"))), digest_of(b"first"), b"first")


def test_cancelled_upload_is_unknown(registry: Registry, fresh: str) -> None:
    location = open_upload(registry, fresh)
    assert registry.call("DELETE", location).status_code == 204
    assert code(registry.call("GET", location)) == "BLOB_UPLOAD_UNKNOWN"


def test_mounted_blob_is_available(door: Registry) -> None:
    content = secrets.token_bytes(40)
    source, target = door.name("source"), door.name("target", "second")
    digest = door.push_blob(source, content)
    answer = door.call("POST", f"{target}/blobs/uploads/?mount={digest}&from={source}")
    check_stored(door, answer, digest, content)


def test_mount_of_unknown_blob_without_source_opens_an_upload(registry: Registry, fresh: str) -> None:
    answer = registry.call("POST", f"{fresh}/blobs/uploads/?mount={other()}")
    assert answer.status_code == 202


@pytest.mark.parametrize("source", ["missing", "elsewhere", "unreadable"])
def test_mount_from_unusable_source_opens_an_upload(registry: Registry, fresh: str, source: str) -> None:
    content = secrets.token_bytes(40)
    names = {
        "missing": registry.name("source", "second"),
        "elsewhere": registry.name("source").replace("us-central1", "europe-west1"),
        "unreadable": f"{registry.prefix}{registry.project}-off/some/where",
    }
    answer = registry.call("POST", f"{fresh}/blobs/uploads/?mount={digest_of(content)}&from={names[source]}")
    assert answer.status_code == 202
    answer = registry.call("PUT", joined(answer.headers["Location"], digest_of(content)), data=content)
    check_stored(registry, answer, digest_of(content), content)


@pytest.mark.parametrize(
    ("interval", "first", "last"),
    [("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047), ("2000-5000", 2000, 2047), ("-5000", 0, 2047)],
)
def test_range_returns_its_bytes(registry: Registry, fresh: str, interval: str, first: int, last: int) -> None:
    content = secrets.token_bytes(2048)
    digest = registry.push_blob(fresh, content)
    answer = registry.call("GET", f"{fresh}/blobs/{digest}", headers={"Range": f"bytes={interval}"})
    assert (answer.status_code, answer.content) == (206, content[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/2048"
    assert answer.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("interval", ["500-0", "5000-10000", "-0", "-", "x-y", "0-" + "9" * 5000, "9" * 5000 + "-"])
def test_unsatisfiable_range_is_refused(registry: Registry, fresh: str, interval: str) -> None:
    digest = registry.push_blob(fresh, bytes(2048))
    answer = registry.call("GET", f"{fresh}/blobs/{digest}", headers={"Range": f"bytes={interval}"})
    assert (answer.status_code, code(answer)) == (416, "RANGE_INVALID")
    assert answer.headers["Content-Range"] == "bytes */2048"


def test_conditional_requests_for_a_blob_are_supported(registry: Registry, fresh: str) -> None:
    digest = registry.push_blob(fresh, b"content")
    url = f"{fresh}/blobs/{digest}"
    assert registry.call("GET", url, headers={"If-None-Match": f'"{digest}"'}).status_code == 304
    stale = registry.call("GET", url, headers={"Range": "bytes=0-1", "If-Range": '"another"'})
    assert (stale.status_code, stale.content) == (200, b"content")
    several = registry.call("GET", url, headers={"Range": "bytes=0-1,3-4"})
    assert (several.status_code, several.content) == (200, b"content")


@pytest.mark.parametrize("size", [1, 64 << 10, (64 << 10) + 1])
def test_blob_outside_the_page_cache_is_read(door: Registry, size: int) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}")
    content = secrets.token_bytes(size)
    digest = door.push_blob(name, content)
    algorithm, value = digest.split(":")
    with (door.home / "state" / "blobs" / algorithm / value[:2] / value).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for _ in range(2):  # the second time it is in memory
        assert door.call("GET", f"{name}/blobs/{digest}").content == content
        last = door.call("GET", f"{name}/blobs/{digest}", headers={"Range": f"bytes={size - 1}-"})
        assert (last.status_code, last.content) == (206, content[-1:])


def test_blob_in_use_cannot_be_deleted(registry: Registry, fresh: str) -> None:
    manifest = registry.image(fresh, b"layer")
    registry.push_manifest(fresh, "v1", manifest)
    for digest in (manifest["config"]["digest"], manifest["layers"][0]["digest"]):
        answer = registry.call("DELETE", f"{fresh}/blobs/{digest}")
        assert (answer.status_code, code(answer)) == (405, "UNSUPPORTED")


def test_concurrent_pushes_of_one_blob_succeed(registry: Registry, fresh: str) -> None:
    content = secrets.token_bytes(1 << 20)
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: registry.push_blob(fresh, content), range(16)))
    assert digests == {digest_of(content)}
    assert registry.call("GET", f"{fresh}/blobs/{digest_of(content)}").content == content
