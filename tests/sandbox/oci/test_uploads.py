"""Receive uploads in memory and in files, limit their memory, and discard idle ones."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.artifact_registry import blobs
from sandbox.errors import RegistryError
from sandbox.oci import uploads
from sandbox.oci.uploads import Upload
from sandbox.state.clock import Clock
from sandbox.state.world import World

REPOSITORY = "projects/p-one/locations/us-central1/repositories/r"
SMALL = 64 << 10


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "state", Clock())
        yield world
        world.close()


def receive(upload: Upload, chunks: Sequence[bytes]) -> int:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return asyncio.run(uploads.receive(upload, body()))


def files(world: World) -> set[Path]:
    return {path for part in ("blobs", "uploads") for path in (world.folder / part).rglob("*") if path.is_file()}


SIZES = st.one_of(
    st.integers(0, 100),
    st.integers(SMALL - 2, SMALL + 2),
    st.integers(uploads.BATCH - 2, uploads.BATCH + 2),
    st.integers(0, 3 * uploads.BATCH),
)


@settings(max_examples=60, deadline=None)
@given(
    size=SIZES,
    cuts=st.lists(st.floats(0, 1), max_size=5),
    algorithm=st.sampled_from(["sha256", "sha512"]),
    named=st.sampled_from(["sha256", "sha512"]),
    first=st.integers(0, 3),
)
def test_pieces_of_any_size_make_the_blob(
    world: World, size: int, cuts: list[float], algorithm: str, named: str, first: int
) -> None:
    content = secrets.token_bytes(size)
    places = [0, *sorted(int(cut * size) for cut in cuts), size]
    pieces = [content[start:stop] for start, stop in itertools.pairwise(places)]
    upload = uploads.begin(world, REPOSITORY, algorithm)
    # The second call continues where the first one ended.
    assert receive(upload, pieces[:first]) + receive(upload, pieces[first:]) == size == upload.size
    digest = blobs.digest_of(content, named)
    uploads.finish(world, upload, digest)
    assert blobs.read(world, digest) == content
    assert list((world.folder / "uploads").iterdir()) == []
    with pytest.raises(RegistryError):
        uploads.find(world, REPOSITORY, upload.id)


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1])
def test_wrong_digest_leaves_nothing(world: World, size: int) -> None:
    before = files(world)
    upload = uploads.begin(world, REPOSITORY)
    receive(upload, [secrets.token_bytes(size)])
    with pytest.raises(RegistryError) as refused:
        uploads.finish(world, upload, blobs.digest_of(b"another"))
    assert refused.value.code == "DIGEST_INVALID"
    assert files(world) == before


def test_memory_of_open_uploads_is_limited(world: World) -> None:
    opened = [uploads.begin(world, REPOSITORY) for _ in range(300)]
    for upload in opened:
        receive(upload, [bytes(SMALL)])
    held = [upload for upload in opened if upload.held]
    assert len(held) == 256
    assert [upload.part.stat().st_size for upload in opened if upload not in held] == [SMALL] * 44
    for upload in opened:
        uploads.discard(world, upload)
    large = uploads.begin(world, REPOSITORY)
    receive(large, [bytes(SMALL), b"1"])
    assert (large.held, large.part.stat().st_size) == (b"", SMALL + 1)
    uploads.discard(world, large)
    assert list((world.folder / "uploads").iterdir()) == []


def test_idle_uploads_are_discarded(world: World) -> None:
    left, used, busy = (uploads.begin(world, REPOSITORY) for _ in range(3))
    for upload in (left, used, busy):
        receive(upload, [bytes(SMALL + 1)])
    for upload in (left, busy):
        upload.touched -= 3601
    uploads.lock(busy)
    uploads.forget_idle(world)
    with pytest.raises(RegistryError) as refused:
        uploads.find(world, REPOSITORY, left.id)
    assert refused.value.code == "BLOB_UPLOAD_UNKNOWN"
    assert not left.part.exists()
    for upload in (used, busy):
        assert uploads.find(world, REPOSITORY, upload.id).part.exists()
        uploads.discard(world, upload)
