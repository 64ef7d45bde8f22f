"""Detect blobs that were damaged on disk.

The size is checked at every request for a blob. The digest is checked at the first read since the start, and again
when the file has changed (inode, size, modification time). A damaged file is deleted, so that clients find the blob
missing and the next push uploads it again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from sandbox.state.world import World

_CHUNK = 1 << 20  # bytes per read
_Signature = tuple[int, int, int]

log = logging.getLogger("sandbox")


def _proved(_world: World) -> dict[str, _Signature]:
    """Return an empty table of intact blobs: digest to the file's signature."""
    return {}


class Damaged(FileNotFoundError):
    """The blob's file is missing or damaged."""


def path_of(world: World, digest: str) -> Path:
    """Return the path of a blob's file."""
    algorithm, value = digest.split(":", 1)
    return world.folder / "blobs" / algorithm / value[:2] / value


def is_proved(world: World, digest: str) -> bool:
    """Return whether the blob was found intact before, so `require` only hashes it if the file has changed."""
    return digest in world.part(_proved)


def is_unchanged(world: World, digest: str) -> bool:
    """Return whether the file has not changed since it was found intact."""
    try:
        return world.part(_proved).get(digest) == _signature(path_of(world, digest).stat())
    except FileNotFoundError:
        return False


def prove(world: World, digest: str) -> None:
    """Record that the present file is intact, because it was hashed while it was received."""
    world.part(_proved)[digest] = _signature(path_of(world, digest).stat())


def has_size(world: World, digest: str, size: int) -> bool:
    """Return whether the file exists and has this size. Does not read it."""
    try:
        return path_of(world, digest).stat().st_size == size
    except FileNotFoundError:
        return False


def require(world: World, digest: str, size: int | None = None) -> None:
    """Ensure that a blob is intact, hashing it if necessary. Blocking.

    Raises:
        Damaged: if it is not; then the file is deleted.
    """
    if is_unchanged(world, digest):
        return
    if is_sound(world, digest, size):
        prove(world, digest)
        return
    remove(world, digest)
    raise Damaged(f"{digest} is damaged")


def is_sound(world: World, digest: str, size: int | None = None) -> bool:
    """Return whether the file is intact. Blocking: reads the whole file."""
    return (size is None or has_size(world, digest, size)) and _hash(world, digest) == digest


def remove(world: World, digest: str) -> None:
    """Delete a damaged blob's file."""
    log.error("the blob %s is missing or damaged: push the image again, and it is whole", digest)
    world.part(_proved).pop(digest, None)
    path_of(world, digest).unlink(missing_ok=True)


def _hash(world: World, digest: str) -> str:
    algorithm = digest.partition(":")[0]
    hashed = hashlib.new(algorithm)
    try:
        with path_of(world, digest).open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
    except FileNotFoundError:
        return ""
    return f"{algorithm}:{hashed.hexdigest()}"


def _signature(about: os.stat_result) -> _Signature:
    return about.st_ino, about.st_size, about.st_mtime_ns
