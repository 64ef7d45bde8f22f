"""Uploads in progress: hash and write bytes as they arrive, until a digest completes the blob.

Each upload is an object in memory and a file. A restart discards them (`sandbox.artifact_registry.blobs.sweep`), so an
interrupted push has no visible effect.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sandbox.artifact_registry.blobs import digest_of, place, store
from sandbox.errors import RegistryError
from sandbox.state.disk import start_writing
from sandbox.state.world import World

BATCH = 1 << 20  # bytes per call of a thread
REQUEST_LIMIT = 9_900_000_000  # bytes; "9.9 GB per request", https://cloud.google.com/artifact-registry/quotas
IDLE_SECONDS = 3600.0  # after which an unused upload is discarded

# A small blob stays in memory until the upload is completed, since a thread switch would take longer than everything
# else. Together these uploads use at most 16 MiB.
_SMALL = 64 << 10  # bytes
_HOLDING = 256  # with so many open uploads, new ones use a file

# Separate threads, so that hashing and syncing never make other requests wait for a thread.
_WORKERS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="upload")


@dataclass
class Upload:
    """One upload.

    Attributes:
        repository: resource name.
        size: bytes received.
        may_hold: whether it may keep a small blob in memory.
        held: the received bytes, if they are not in the file.
        busy: whether a request is writing to it.
        touched: when it was last used, in monotonic seconds.
    """

    id: str
    repository: str
    part: Path
    algorithm: str
    hasher: Any
    may_hold: bool
    size: int = 0
    held: bytes = b""
    busy: bool = False
    touched: float = field(default_factory=time.monotonic)

    @property
    def in_memory(self) -> bool:
        """Whether all bytes are in memory and there is no file."""
        return self.size == len(self.held)


def _open(_world: World) -> dict[str, Upload]:
    """Return an empty table of open uploads by id."""
    return {}


def begin(world: World, repository: str, algorithm: str = "sha256") -> Upload:
    """Open an upload. Its file is created with the first bytes."""
    open_now = world.part(_open)
    name = secrets.token_hex(16)
    part = world.folder / "uploads" / name
    upload = Upload(name, repository, part, algorithm, hashlib.new(algorithm), len(open_now) < _HOLDING)
    open_now[name] = upload
    return upload


def forget_idle(world: World) -> None:
    """Discard uploads that were not used for an hour."""
    deadline = time.monotonic() - IDLE_SECONDS
    for upload in list(world.part(_open).values()):
        if not upload.busy and upload.touched < deadline:
            discard(world, upload)


def find(world: World, repository: str, name: str) -> Upload:
    """Return an upload of a repository by its id.

    Raises:
        RegistryError: BLOB_UPLOAD_UNKNOWN.
    """
    upload = world.part(_open).get(name)
    if upload is None or upload.repository != repository:
        raise RegistryError("BLOB_UPLOAD_UNKNOWN", "The upload is unknown: it was finished, cancelled or left alone")
    return upload


def lock(upload: Upload) -> None:
    """Lock an upload for one request.

    Raises:
        RegistryError: BLOB_UPLOAD_INVALID (409) if another request has locked it.
    """
    if upload.busy:
        raise RegistryError("BLOB_UPLOAD_INVALID", "Another request is writing to this upload", http_status=409)
    upload.busy = True


def discard(world: World, upload: Upload) -> None:
    """Forget an upload and its bytes."""
    world.part(_open).pop(upload.id, None)
    upload.part.unlink(missing_ok=True)


def too_large(limit: int) -> RegistryError:
    """Return a 413, which closes the connection without reading the rest of the body."""
    # unverified: code and message
    return RegistryError(
        "SIZE_INVALID",
        f"The request is larger than {limit} bytes, the most that one request may carry",
        http_status=413,
        headers={"Connection": "close"},
    )


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run a function that hashes, writes or syncs in an upload thread."""
    return await asyncio.get_running_loop().run_in_executor(_WORKERS, function, *args)


async def batches(
    chunks: AsyncIterator[bytes], write: Callable[[Sequence[bytes]], None], limit: int
) -> tuple[int, list[bytes]]:
    """Pass a body to `write` in batches, while the next batch arrives.

    Returns:
        the number of received bytes, and the chunks of the last, incomplete batch, which the caller must write.

    Raises:
        RegistryError: SIZE_INVALID (413) as soon as the body exceeds `limit` bytes.
    """
    loop = asyncio.get_running_loop()
    total = gathered = 0
    batch: list[bytes] = []
    flight: asyncio.Future[None] | None = None
    try:
        async for chunk in chunks:
            total += len(chunk)
            gathered += len(chunk)
            if total > limit:
                raise too_large(limit)
            batch.append(chunk)
            if gathered >= BATCH:
                if flight is not None:
                    await flight
                flight = loop.run_in_executor(_WORKERS, write, batch)
                batch, gathered = [], 0
    finally:
        # No thread may still be writing when this function ends.
        if flight is not None:
            await flight
    return total, batch


async def receive(upload: Upload, chunks: AsyncIterator[bytes], limit: int = REQUEST_LIMIT) -> int:
    """Append a body to an upload, and return the number of received bytes.

    Raises:
        RegistryError: SIZE_INVALID (413); BLOB_UPLOAD_INVALID (409) if another request has locked the upload.
    """
    lock(upload)
    file: BinaryIO | None = None

    def write(parts: Sequence[bytes]) -> None:
        nonlocal file
        if file is None:
            file = upload.part.open("ab")
        upload.size += sum(map(len, parts))
        parts, upload.held = [upload.held, *parts], b""
        for part in parts:
            upload.hasher.update(part)
        file.writelines(parts)
        file.flush()
        start_writing(file.fileno())

    try:
        total, rest = await batches(chunks, write, limit)
        if upload.may_hold and not upload.size and total <= _SMALL:
            upload.size, upload.held = total, b"".join(rest)
        elif any(rest):  # a body ends with an empty chunk
            await in_thread(write, rest)
        return total
    finally:
        if file is not None:
            file.close()
        upload.busy = False
        upload.touched = time.monotonic()


def _digest(upload: Upload, algorithm: str) -> str:
    if upload.in_memory:
        return digest_of(upload.held, algorithm)
    if algorithm == upload.algorithm:
        return f"{algorithm}:{upload.hasher.hexdigest()}"
    with upload.part.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def finish(world: World, upload: Upload, digest: str) -> None:
    """Move an upload's bytes into the blob store, synced, and close the upload. Blocking. The caller adds the row.

    Raises:
        RegistryError: DIGEST_INVALID if the bytes have another digest.
    """
    try:
        if (found := _digest(upload, digest.split(":", 1)[0])) != digest:
            raise RegistryError("DIGEST_INVALID", f"The content's digest is {found}, not {digest}")
        if upload.in_memory:
            store(world, upload.held, digest)
        else:
            place(world, upload.part, digest)
    finally:
        discard(world, upload)
