"""Refuse changes of immutable or referenced manifests, and invalid input."""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import time
from typing import Any

import pytest

from tests.sandbox.oci.conftest import OCI_MANIFEST, Registry
from tests.sandbox.oci.wire import refusal


def test_immutable_tag_cannot_be_moved_or_deleted(registry: Registry) -> None:
    name = registry.name(f"image-{secrets.token_hex(4)}", "immutable")
    first = registry.image(name, b"first")
    digest = registry.push_manifest(name, "v1", first)
    assert registry.push_manifest(name, "v1", first) == digest
    body = registry.image(name, b"second")
    answer = registry.call("PUT", f"{name}/manifests/v1", json=body, headers={"Content-Type": OCI_MANIFEST})
    message = "cannot update tag v1. The repository has enabled tag immutability"
    assert refusal(answer) == (400, "MANIFEST_INVALID", message)
    assert registry.call("HEAD", f"{name}/manifests/v1").headers["Docker-Content-Digest"] == digest
    assert refusal(registry.call("DELETE", f"{name}/manifests/v1"))[:2] == (400, "MANIFEST_INVALID")
    assert refusal(registry.call("DELETE", f"{name}/manifests/{digest}"))[1] == "GOOGLE_MANIFEST_DANGLING_TAG"
    assert len(registry.call("GET", f"{name}/tags/list").json()["manifest"]) == 1


def test_writer_can_move_a_tag(registry: Registry, fresh: str) -> None:
    for layer in (b"one", b"two"):
        content = json.dumps(registry.image(fresh, layer)).encode()
        answer = registry.call(
            "PUT", f"{fresh}/manifests/v1", data=content, who="writer", headers={"Content-Type": OCI_MANIFEST}
        )
        assert answer.status_code == 201
    found = registry.call("GET", f"{fresh}/tags/list").json()["manifest"]
    assert sorted(entry["tag"] for entry in found.values()) == [[], ["v1"]]


def test_referenced_manifest_cannot_be_deleted(registry: Registry, fresh: str) -> None:
    content = json.dumps(registry.image(fresh, b"layer")).encode()
    child = registry.push_manifest(fresh, "arm", content)
    kind = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": OCI_MANIFEST, "digest": child, "size": len(content)}
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}
    parent = registry.push_manifest(fresh, "all", index)
    expected = (400, "GOOGLE_MANIFEST_DANGLING_TAG", "Manifest is still referenced by one or more tags")
    assert refusal(registry.call("DELETE", f"{fresh}/manifests/{parent}")) == expected
    assert registry.call("DELETE", f"{fresh}/manifests/arm").status_code == 202
    message = f"Manifest is still referenced by one or more parent images: {parent}"
    expected = (400, "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE", message)
    assert refusal(registry.call("DELETE", f"{fresh}/manifests/{child}")) == expected
    for reference in ("all", parent, child):
        assert registry.call("DELETE", f"{fresh}/manifests/{reference}", who="repoadmin").status_code == 202
    assert refusal(registry.call("DELETE", f"{fresh}/manifests/{child}"))[:2] == (404, "MANIFEST_UNKNOWN")
    assert refusal(registry.call("DELETE", f"{fresh}/manifests/all"))[:2] == (404, "MANIFEST_UNKNOWN")


def bad_manifests() -> list[tuple[str, bytes, str]]:
    digest = "sha256:" + "0" * 64
    entry = {"mediaType": "a/b", "digest": digest, "size": 1}
    good: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry, "layers": []}
    signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    index = "application/vnd.oci.image.index.v1+json"
    return [
        ("not JSON", b"{", OCI_MANIFEST),
        ("not UTF-8", b'{"a": "\xff"}', OCI_MANIFEST),
        ("a list", b"[]", OCI_MANIFEST),
        ("deep", b"[" * 100_000, OCI_MANIFEST),
        ("schema 1", b'{"schemaVersion": 1, "name": "a", "tag": "b"}', signed),
        ("no type", b'{"schemaVersion": 2}', ""),
        ("unknown type", json.dumps({**good, "mediaType": "text/plain"}).encode(), "text/plain"),
        ("two types", json.dumps(good).encode(), "application/vnd.docker.distribution.manifest.v2+json"),
        ("type no string", json.dumps({**good, "mediaType": 7}).encode(), OCI_MANIFEST),
        ("schema 3", json.dumps({**good, "schemaVersion": 3}).encode(), OCI_MANIFEST),
        ("no config", json.dumps({**good, "config": None}).encode(), OCI_MANIFEST),
        ("no layers", json.dumps({**good, "layers": None}).encode(), OCI_MANIFEST),
        ("negative", json.dumps({**good, "config": {**entry, "size": -1}}).encode(), OCI_MANIFEST),
        ("a path", json.dumps({**good, "config": {**entry, "digest": "sha256:../../x"}}).encode(), OCI_MANIFEST),
        ("subject", json.dumps({**good, "subject": "v1"}).encode(), OCI_MANIFEST),
        ("annotations", json.dumps({**good, "annotations": {"a": 1}}).encode(), OCI_MANIFEST),
        ("artifactType", json.dumps({**good, "artifactType": []}).encode(), OCI_MANIFEST),
        ("surrogate", json.dumps({**good, "artifactType": "a/\ud800"}).encode(), OCI_MANIFEST),
        ("huge", json.dumps({**good, "config": {**entry, "size": 0}}).replace(": 0", ": " + "9" * 5000).encode(), ""),
        ("both", json.dumps({**good, "manifests": []}).encode(), OCI_MANIFEST),
        ("index", json.dumps({"schemaVersion": 2, "mediaType": index, "manifests": {}}).encode(), index),
        ("index with layers", json.dumps({**good, "mediaType": index, "manifests": []}).encode(), index),
    ]


@pytest.mark.parametrize(
    ("content", "kind"), [case[1:] for case in bad_manifests()], ids=[c[0] for c in bad_manifests()]
)
def test_invalid_manifest_is_refused(registry: Registry, fresh: str, content: bytes, kind: str) -> None:
    answer = registry.call("PUT", f"{fresh}/manifests/v1", data=content, headers={"Content-Type": kind})
    status, code, message = refusal(answer)
    assert (status, code in ("MANIFEST_INVALID", "DIGEST_INVALID"), bool(message)) == (400, True, True)
    assert registry.call("GET", f"{fresh}/tags/list").status_code == 404


@pytest.mark.parametrize(
    "config", [b"", b"[]", b'{"created": 7}', b'{"created": "9999-12-31T23:59:59-10:00"}', b"[" * 9999]
)
def test_any_config_is_accepted(registry: Registry, fresh: str, config: bytes) -> None:
    body = registry.image(fresh)
    body["config"] |= {"digest": registry.push_blob(fresh, config), "size": len(config)}
    registry.push_manifest(fresh, "v1", body)
    (found,) = registry.call("GET", f"{fresh}/tags/list").json()["manifest"].values()
    assert found["timeCreatedMs"] == "0"


def test_manifest_with_wrong_size_is_refused(registry: Registry, fresh: str) -> None:
    body = registry.image(fresh, b"layer")
    body["layers"][0]["size"] = 6
    answer = registry.call("PUT", f"{fresh}/manifests/v1", json=body, headers={"Content-Type": OCI_MANIFEST})
    assert refusal(answer)[:2] == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize("tag", ["-a", ".a", "a" * 129, "a%20b", "a%00", "%C3%A4"])
def test_invalid_tag_is_refused(registry: Registry, fresh: str, tag: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = registry.call(method, f"{fresh}/manifests/{tag}", data=b"{}")
        assert refusal(answer)[:2] == (400, "TAG_INVALID")


@pytest.mark.parametrize(
    "image", ["App", "a_-b", "a//b", "-a", "a..b", "a%20b", "%2e%2e/app", "..%2f..%2fapp", "a" * 300]
)
def test_invalid_image_name_is_refused(registry: Registry, image: str) -> None:
    answer = registry.call("GET", f"{registry.name(image)}/manifests/v1")
    status, code, _ = refusal(answer)
    assert (status, code) == (400, "NAME_INVALID")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "manifests/v1", 405), ("PUT", "tags/list", 405), ("PATCH", "blobs/sha256:" + "0" * 64, 405),
        ("GET", "blobs/uploads/", 405), ("DELETE", "referrers/sha256:" + "0" * 64, 405), ("GET", "what/ever", 404),
        ("GET", "blobs/sha256:zz", 400), ("GET", "blobs/latest", 400), ("GET", "referrers/v1", 400),
        ("GET", "blobs/uploads/" + "0" * 32, 404), ("PUT", "blobs/uploads/..%2f..%2fworld.db", 400),
    ],
)  # fmt: skip
def test_invalid_path_or_verb_is_refused(registry: Registry, fresh: str, method: str, path: str, status: int) -> None:
    answer = registry.call(method, f"{fresh}/{path}")
    assert refusal(answer)[0] == status
    assert ("Allow" in answer.headers) == (status == 405)


def raw(registry: Registry, head: str, *body: bytes) -> bytes:
    """Send the bytes of a request, and return the start of the response, or all of it if the connection closes."""
    with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as line:
        token = registry.tokens["owner"]
        line.sendall(f"{head}Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        for part in body:
            line.sendall(part)
        answer = line.recv(65536)
        while b"connection: close" in answer.lower() and (more := line.recv(65536)):
            answer += more
        return answer


def test_request_over_the_limit_is_refused_before_its_body(registry: Registry, fresh: str) -> None:
    for path, length in ((f"{fresh}/blobs/uploads/", 9_900_000_001), (f"{fresh}/manifests/v1", (4 << 20) + 1)):
        method = "PUT" if "manifests" in path else "POST"
        answer = raw(registry, f"{method} /v2/{path} HTTP/1.1\r\nContent-Length: {length}\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"SIZE_INVALID" in answer


def test_streamed_manifest_over_the_limit_is_refused(registry: Registry, fresh: str) -> None:
    head = f"PUT /v2/{fresh}/manifests/v1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    # The body has no end: the server answers as soon as the body is over the limit.
    answer = raw(registry, head, *[b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 64, b"1\r\nx\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"SIZE_INVALID" in answer


def test_expect_100_continue_is_answered(registry: Registry, fresh: str) -> None:
    digest = "sha256:" + hashlib.sha256(b"content").hexdigest()
    head = f"POST /v2/{fresh}/blobs/uploads/?digest={digest} HTTP/1.1\r\nContent-Length: 7\r\nExpect: 100-continue\r\n"
    assert raw(registry, head).startswith(b"HTTP/1.1 100 ")
    assert raw(registry, head, b"content").startswith(b"HTTP/1.1 100 ")
    refused = raw(registry, head.replace("POST", "PATCH"))
    assert refused.startswith(b"HTTP/1.1 405 ")


def test_interrupted_body_leaves_no_upload(registry: Registry, fresh: str) -> None:
    begun = registry.call("POST", f"{fresh}/blobs/uploads/").headers
    location, name = begun["Location"], begun["Docker-Upload-UUID"]
    with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as line:
        line.sendall(f"PATCH {location} HTTP/1.1\r\nHost: localhost\r\n".encode())
        line.sendall(f"Content-Length: {8 << 20}\r\n\r\n".encode() + bytes(4 << 20))
        line.shutdown(socket.SHUT_WR)
        line.recv(1)
    deadline = time.monotonic() + 10
    while registry.call("GET", location).status_code != 404:
        assert time.monotonic() < deadline, "the interrupted upload still exists"
    assert not (registry.home / "state" / "uploads" / name).exists()
