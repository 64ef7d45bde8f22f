"""Check each requirement of OCI Distribution 1.1 on manifests, over a real socket."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.sandbox.oci.conftest import OCI_MANIFEST, Registry, digest_of
from tests.sandbox.oci.wire import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    algorithms,
    check_stored,
    code,
    other,
)


def check_manifest(registry: Registry, name: str, reference: str, content: bytes, kind: str) -> None:
    for method in ("HEAD", "GET"):
        answer = registry.call(method, f"{name}/manifests/{reference}", headers={"Accept": f"{OCI_INDEX}, {kind}"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.content == (content if method == "GET" else b"")


def data_set(registry: Registry, name: str, which: str) -> dict[str, Any]:
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": registry.push_blob(name, b"{}"), "size": 2}
    artifact = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "text/x.thing", "config": empty}
    image = registry.image(name, secrets.token_bytes(9), secrets.token_bytes(9))
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    away = {"mediaType": foreign, "digest": other(), "size": 123456, "urls": ["https://example.com/layer"]}
    match which:
        case "image":
            return image
        case "docker":
            return {**image, "mediaType": DOCKER_MANIFEST}
        case "large":
            return {**image, "annotations": {f"org.example.{n}": "x" * 10_000 for n in range(390)}}
        case "artifact":
            return {**artifact, "layers": [image["layers"][0]]}
        case "artifact without layers":
            return {**artifact, "layers": [empty]}
        case "missing subject":
            return {**image, "subject": {"mediaType": OCI_MANIFEST, "digest": other(), "size": 100}}
        case "data field":
            return {**artifact, "config": {**empty, "data": "e30="}, "layers": [{**empty, "data": "e30="}]}
        case "non-distributable":
            return {**image, "layers": [*image["layers"], away]}
        case "custom fields":
            return {**image, "org.example.field": {"z": 1, "a": [2]}}
        case "no layers":
            return {**image, "layers": []}
        case "empty index":
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    children = [(OCI_MANIFEST, image), (OCI_MANIFEST, registry.image(name, secrets.token_bytes(9)))]
    if which == "artifact index":
        children.append((OCI_MANIFEST, {**artifact, "layers": [empty]}))
    described = []
    for kind, child in children:
        content = json.dumps(child).encode()
        digest = registry.push_manifest(name, digest_of(content), content)
        described.append({"mediaType": kind, "digest": digest, "size": len(content)})
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described}
    if which == "nested index":
        content = json.dumps(index).encode()
        digest = registry.push_manifest(name, digest_of(content), content)
        index = {**index, "manifests": [{"mediaType": OCI_INDEX, "digest": digest, "size": len(content)}]}
    if which == "index with subject":
        index["subject"] = {"mediaType": OCI_MANIFEST, "digest": described[0]["digest"], "size": described[0]["size"]}
    return {**index, "mediaType": DOCKER_LIST} if which == "docker list" else index


DATA_SETS = [
    "image", "docker", "large", "artifact", "artifact without layers", "missing subject", "data field",
    "non-distributable", "custom fields", "no layers", "empty index", "index", "docker list", "nested index",
    "artifact index", "index with subject",
]  # fmt: skip


def held_by(registry: Registry, name: str, body: dict[str, Any]) -> tuple[list[str], set[str]]:
    """Return the digests of the manifests that a manifest refers to, in the order of their push, and of the blobs."""
    children: list[str] = []
    entries = [*body.get("layers", []), *([body["config"]] if "config" in body else [])]
    needed = {entry["digest"] for entry in entries if "urls" not in entry}
    for entry in body.get("manifests", []):
        below, blobs = held_by(registry, name, registry.call("GET", f"{name}/manifests/{entry['digest']}").json())
        children += [*below, entry["digest"]]
        needed |= blobs
    return children, needed


@algorithms
@pytest.mark.parametrize("which", DATA_SETS)
def test_manifest_is_pushed_pulled_and_deleted(registry: Registry, fresh: str, which: str, algorithm: str) -> None:
    body = data_set(registry, fresh, which)
    content = json.dumps(body, indent=3).encode()
    digest = digest_of(content, algorithm)
    kind = {"Content-Type": body["mediaType"]}
    answer = registry.call("PUT", f"{fresh}/manifests/{digest}", data=content, headers=kind)
    check_stored(registry, answer, digest, content)
    assert answer.headers.get("OCI-Subject") == body.get("subject", {}).get("digest")
    answer = registry.call("PUT", f"{fresh}/manifests/v1?digest={digest}", data=content, headers=kind)
    check_stored(registry, answer, digest, content)
    for reference in (digest, "v1"):
        check_manifest(registry, fresh, reference, content, body["mediaType"])
    own = [body["subject"]["digest"].replace(":", "-")] if "subject" in body else []
    assert registry.call("GET", f"{fresh}/tags/list").json()["tags"] == [*own, "v1"]
    children, needed = held_by(registry, fresh, body)
    # Artifact Registry accepts only this order: tags, manifests from the last pushed to the first, blobs.
    gone = [f"manifests/{reference}" for reference in ("v1", digest, *reversed(children))]
    for path in [*gone, *(f"blobs/{blob}" for blob in sorted(needed))]:
        assert registry.call("DELETE", f"{fresh}/{path}").status_code == 202, path
        assert registry.call("HEAD", f"{fresh}/{path}").status_code == 404, path


def test_manifest_is_tagged_by_query_parameters(registry: Registry, fresh: str) -> None:
    content = json.dumps(registry.image(fresh, b"layer")).encode()
    url = f"{fresh}/manifests/{digest_of(content)}?tag=one&tag=two"
    answer = registry.call("PUT", url, data=content, headers={"Content-Type": OCI_MANIFEST})
    assert (answer.status_code, answer.headers["OCI-Tag"]) == (201, "one, two")
    assert registry.call("GET", f"{fresh}/tags/list").json()["tags"] == ["one", "two"]


@algorithms
def test_manifest_with_wrong_digest_is_refused(registry: Registry, fresh: str, algorithm: str) -> None:
    content = json.dumps(registry.image(fresh, b"layer")).encode()
    url = f"{fresh}/manifests/{other(algorithm)}"
    answer = registry.call("PUT", url, data=content, headers={"Content-Type": OCI_MANIFEST})
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


def test_missing_manifest_is_unknown(registry: Registry, fresh: str) -> None:
    for reference in (other(), other("sha512"), "latest"):
        answer = registry.call("GET", f"{fresh}/manifests/{reference}")
        assert (answer.status_code, code(answer)) == (404, "MANIFEST_UNKNOWN")
        assert answer.json()["errors"][0]["message"] == f'Failed to fetch "{reference}"'
    for method in ("PUT", "GET"):
        answer = registry.call(method, f"{fresh}/manifests/sha256:baddigeststring", data=b"{}")
        assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("which", ["config", "layer", "child"])
def test_manifest_with_missing_reference_is_refused(registry: Registry, fresh: str, which: str) -> None:
    body = registry.image(fresh, b"layer")
    absent = {"mediaType": OCI_MANIFEST, "digest": other(), "size": 7}
    body = {
        "config": {**body, "config": absent},
        "layer": {**body, "layers": [absent]},
        "child": {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [absent]},
    }[which]
    answer = registry.call("PUT", f"{fresh}/manifests/v1", json=body, headers={"Content-Type": body["mediaType"]})
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert answer.json()["errors"][0]["detail"] == {"digest": absent["digest"]}
    assert registry.call("HEAD", f"{fresh}/manifests/v1").status_code == 404


def test_accept_header_must_include_the_media_type(registry: Registry, fresh: str) -> None:
    registry.push_manifest(fresh, "v1", registry.image(fresh, b"layer"))
    url = f"{fresh}/manifests/v1"
    for accept in ("*/*", OCI_MANIFEST, f"{DOCKER_MANIFEST};q=0.9, {OCI_MANIFEST};q=0.1"):
        assert registry.call("GET", url, headers={"Accept": accept}).status_code == 200
    answer = registry.call("GET", url, headers={"Accept": DOCKER_MANIFEST})
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_UNKNOWN")
    assert answer.json()["errors"][0]["message"].startswith(f'Manifest has media type "{OCI_MANIFEST}" but client')
