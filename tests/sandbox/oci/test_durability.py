"""Kill the sandbox during a push, and sweep and collect blobs: acknowledged pushes remain, partial ones do not."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.artifact_registry import blobs, catalog, integrity
from sandbox.artifact_registry.catalog import Version
from sandbox.errors import RegistryError
from sandbox.oci import uploads
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.conditions import until
from tests.sandboxes import Sandbox

if TYPE_CHECKING:
    from tests.sandbox.oci.conftest import Registry

REPOSITORY = "projects/p-one/locations/us-central1/repositories/r"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Sandbox]:
    """Return a sandbox that is not started yet, for a test that kills it."""
    (tmp_path / "home").mkdir()
    made = Sandbox(tmp_path / "home", f"ml-workbook-{secrets.token_hex(3)}")
    yield made
    made.kill()


def test_kill_during_a_push_leaves_nothing(
    registry: Registry,
    prepared: Callable[[Path, str], dict[str, str]],
    process: Sandbox,
) -> None:
    home, project = process.home, process.project
    minted = prepared(home, project)

    def start() -> Registry:
        process.start()
        base = f"http://localhost:{process.port}"
        return type(registry)(base, registry.prefix, process.port, home, project, minted, registry.session)

    own = start()
    service = "artifactregistry.googleapis.com"
    own.api("POST", f"serviceusage.googleapis.com/v1/projects/{project}/services/{service}:enable", {})
    parent = f"{service}/v1/projects/{project}/locations/us-central1/repositories"
    own.api("POST", f"{parent}?repositoryId=ml-images", {"format": "DOCKER"})
    name = own.name("app")
    kept = own.push_manifest(name, "v1", own.image(name, b"kept"))
    content = secrets.token_bytes(8 << 20)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    begun = own.call("POST", f"{name}/blobs/uploads/").headers["Location"]
    with socket.create_connection(("127.0.0.1", own.port)) as line:
        head = f"POST /v2/{name}/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Authorization: Bearer {own.tokens['owner']}\r\nContent-Length: {len(content)}\r\n\r\n"
        line.sendall(head.encode() + content[: 5 << 20])
        uploads_folder = own.home / "state" / "uploads"
        until(lambda: sum(part.stat().st_size for part in uploads_folder.iterdir()) >= 1 << 20, pause=0.01)
        process.kill()
    again = start()
    gone = again.call("PATCH", begun.replace(str(own.port), str(again.port)), data=b"the rest")
    assert (gone.status_code, gone.json()["errors"][0]["code"]) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert list((own.home / "state" / "uploads").iterdir()) == []
    assert again.call("HEAD", f"{name}/blobs/{digest}").status_code == 404
    assert again.call("HEAD", f"{name}/manifests/v1").headers["Docker-Content-Digest"] == kept
    assert again.push_blob(name, content) == digest
    assert again.call("GET", f"{name}/blobs/{digest}").content == content


def test_body_limit_applies_while_streaming() -> None:
    written: list[bytes] = []
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1 << 18
            yield bytes(1 << 18)

    def write(parts: Sequence[bytes]) -> None:
        written.extend(parts)

    with pytest.raises(RegistryError) as refused:
        asyncio.run(uploads.batches(body(), write, 5 << 20))
    assert refused.value.http_status == 413
    assert sent == (5 << 20) + (1 << 18)
    assert sum(map(len, written)) <= 5 << 20


@pytest.fixture
def state(tmp_path: Path) -> Iterator[World]:
    """Return a world with one repository, without a server."""
    world = World(tmp_path / "state", Clock())
    with world.writing() as rows:
        rows.execute("INSERT INTO projects (id, number, name, create_time) VALUES ('p-one', '1', 'one', 'x')")
        values = (REPOSITORY, "p-one", "us-central1", "r", "{}", "x", "x")
        rows.execute("INSERT INTO repositories VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    yield world
    world.close()


def keep(world: World, content: bytes, since: str) -> str:
    digest = blobs.digest_of(content)
    blobs.store(world, content, digest)
    with world.writing() as rows:
        blobs.record(rows, world, REPOSITORY, digest, len(content))
        rows.execute("UPDATE repository_blobs SET create_time = ? WHERE digest = ?", (since, digest))
    return digest


def test_sweep_removes_leftovers_at_start(state: World) -> None:
    old, new = "2020-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"
    layer, manifest, unused, recent = (
        keep(state, name, since) for name, since in [(b"layer", old), (b"manifest", old), (b"none", old), (b"new", new)]
    )
    version = Version(REPOSITORY, "app", manifest, "m", "", "", 5, 8, {}, "", "", "")
    with state.writing() as rows:
        catalog.put_version(rows, state, version, blobs=[layer])
        assert catalog.stored_bytes(rows, REPOSITORY) == len(b"layer") + len(b"manifest")
    stray = blobs.digest_of(b"stray")
    blobs.store(state, b"stray", stray)
    (state.folder / "uploads" / "half").write_bytes(b"half")
    blobs.sweep(state)
    left = [digest for digest in (layer, manifest, recent, unused, stray) if integrity.path_of(state, digest).exists()]
    assert left == [layer, manifest, recent]
    assert list((state.folder / "uploads").iterdir()) == []
    with state.writing() as rows:
        assert blobs.find(rows, REPOSITORY, unused) is None
        repository = catalog.find_repository(rows, REPOSITORY)
        assert repository is not None
        catalog.remove_version(rows, repository, "app", manifest, force=True)
        assert catalog.stored_bytes(rows, REPOSITORY) == 0


def test_blob_in_use_by_a_push_is_not_collected(state: World) -> None:
    old = "2020-01-01T00:00:00.000000Z"
    digests = found, again, _ = [keep(state, name, old) for name in (b"found", b"again", b"left")]
    assert blobs.collect(state) == 0  # all three have just been pushed
    state.close()
    world = World(state.folder, Clock())

    def here() -> list[str]:
        with world.reading() as rows:
            known = [digest for digest in digests if blobs.find(rows, REPOSITORY, digest)]
        assert known == [digest for digest in digests if integrity.path_of(world, digest).exists()]
        return known

    try:
        blobs.needed(world, found)
        with world.writing() as rows:
            blobs.record(rows, world, REPOSITORY, again, len(b"again"))  # pushed once more, so it counts as new
        assert blobs.collect(world) == 1
        assert here() == [found, again]
        assert blobs.collect(world, idle=0) == 1
        assert here() == [again]
    finally:
        world.close()


def test_blob_without_its_file_is_unknown(registry: Registry, fresh: str) -> None:
    digest = registry.push_blob(fresh, secrets.token_bytes(64))
    algorithm, value = digest.split(":")
    (registry.home / "state" / "blobs" / algorithm / value[:2] / value).unlink()
    answer = registry.call("GET", f"{fresh}/blobs/{digest}")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")
