"""Damage the files of blobs and manifests: reading one detects it, and the next push repairs it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.artifact_registry import blobs, integrity
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.sandbox.oci.conftest import OCI_MANIFEST, Registry, digest_of

LARGE = 3 << 20  # bytes; larger than one read of the sandbox


@pytest.fixture
def image(registry: Registry) -> tuple[str, dict[str, bytes], bytes]:
    """Push an image, and return its name, its blobs by digest and its manifest."""
    name = registry.name(f"damaged-{secrets.token_hex(4)}")
    found = {digest_of(content): content for content in (secrets.token_bytes(40), secrets.token_bytes(LARGE))}
    manifest = push(registry, name, found)
    return name, found, manifest


def push(registry: Registry, name: str, found: dict[str, bytes]) -> bytes:
    """Push an image as clients do, without the blobs that exist, and return its manifest."""
    for digest, content in found.items():
        if registry.call("HEAD", f"{name}/blobs/{digest}").status_code != 200:
            answer = registry.call("POST", f"{name}/blobs/uploads/?digest={digest}", data=content)
            assert answer.status_code == 201, answer.text
    config, layer = ({"digest": digest, "size": len(content)} for digest, content in found.items())
    config["mediaType"] = "application/vnd.oci.image.config.v1+json"
    layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar"
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}).encode()
    put = registry.call("PUT", f"{name}/manifests/v1", data=body, headers={"Content-Type": OCI_MANIFEST})
    assert put.status_code == 201, put.text
    return body


def file_of(registry: Registry, digest: str) -> Path:
    value = digest.partition(":")[2]
    return registry.home / "state" / "blobs" / "sha256" / value[:2] / value


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": truncated,
    "changed": flipped,
    "emptied": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("place", [0, 1], ids=["small", "large"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_blob_is_missing_until_pushed_again(
    registry: Registry, image: tuple[str, dict[str, bytes], bytes], damage: str, place: int
) -> None:
    name, found, _ = image
    digest, content = list(found.items())[place]
    assert registry.call("GET", f"{name}/blobs/{digest}").content == content
    DAMAGE[damage](file_of(registry, digest))
    assert registry.call("GET", f"{name}/blobs/{digest}").status_code == 404
    assert registry.call("HEAD", f"{name}/blobs/{digest}").status_code == 404
    push(registry, name, found)
    assert registry.call("GET", f"{name}/blobs/{digest}").content == content


@pytest.mark.parametrize("damage", ["truncated", "emptied", "gone"])
def test_wrong_size_is_detected_without_reading(
    registry: Registry, image: tuple[str, dict[str, bytes], bytes], damage: str
) -> None:
    name, found, _ = image
    digest, content = list(found.items())[1]
    DAMAGE[damage](file_of(registry, digest))
    assert registry.call("HEAD", f"{name}/blobs/{digest}").status_code == 404
    mount = registry.call("POST", f"{name}/blobs/uploads/?mount={digest}&from={name}")
    assert mount.status_code == 202
    push(registry, name, found)
    assert registry.call("GET", f"{name}/blobs/{digest}").content == content


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_manifest_is_missing_until_pushed_again(
    registry: Registry, image: tuple[str, dict[str, bytes], bytes], damage: str
) -> None:
    name, found, manifest = image
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    DAMAGE[damage](file_of(registry, digest))
    for reference in ("v1", digest):
        for verb in ("HEAD", "GET"):
            assert registry.call(verb, f"{name}/manifests/{reference}").status_code == 404
    push(registry, name, found)
    assert registry.call("GET", f"{name}/manifests/v1").content == manifest


def test_damage_between_runs_is_detected(tmp_path: Path) -> None:
    """The file keeps its size and time, so only its digest differs. The first read after a start checks it."""
    content = secrets.token_bytes(LARGE)
    digest = digest_of(content)
    world = World(tmp_path / "state", Clock())
    blobs.store(world, content, digest)
    integrity.require(world, digest, LARGE)
    world.close()
    path = integrity.path_of(world, digest)
    about = path.stat()
    flipped(path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    again = World(tmp_path / "state", Clock())
    try:
        assert integrity.has_size(again, digest, LARGE)
        with pytest.raises(integrity.Damaged):
            integrity.require(again, digest, LARGE)
        assert not path.exists()
    finally:
        again.close()
