"""Whether a blob's bytes are still those that were pushed.

Disks, and people, change files. The size is looked at whenever a blob is asked for; the digest when it is read for the
first time since the start, and again when the file is not the same any more (inode, size, time of change). What is
damaged is removed: to whoever asks it is not here, so the next push, which asks as well, brings it back.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from sandbox.state.world import World

_CHUNK = 1 << 20  # bytes that are hashed at once
_Signature = tuple[int, int, int]

log = logging.getLogger("sandbox")


def _proved(_world: World) -> dict[str, _Signature]:
    """Start the list of blobs whose files are known to be right, each with the file's signature."""
    return {}


class Damaged(FileNotFoundError):
    """A blob whose file is missing, or holds other bytes than were pushed."""


def path_of(world: World, digest: str) -> Path:
    """Where a blob's bytes are."""
    algorithm, value = digest.split(":", 1)
    return world.folder / "blobs" / algorithm / value[:2] / value


def is_proved(world: World, digest: str) -> bool:
    """Whether `require` would not have to hash, if the file has not changed."""
    return digest in world.part(_proved)


def is_unchanged(world: World, digest: str) -> bool:
    """Whether the file is the one that was found right before."""
    try:
        return world.part(_proved).get(digest) == _signature(path_of(world, digest).stat())
    except FileNotFoundError:
        return False


def prove(world: World, digest: str) -> None:
    """Remember that the file that is there now is right: it was hashed on its way."""
    world.part(_proved)[digest] = _signature(path_of(world, digest).stat())


def has_size(world: World, digest: str, size: int) -> bool:
    """Whether the file is there and as long as it was; a look, no reading."""
    try:
        return path_of(world, digest).stat().st_size == size
    except FileNotFoundError:
        return False


def require(world: World, digest: str, size: int | None = None) -> None:
    """See that a blob is what was pushed, reading it where that is not known. Blocking.

    Raises:
        Damaged: when it is not; its file is gone then.
    """
    if is_unchanged(world, digest):
        return
    if is_sound(world, digest, size):
        prove(world, digest)
        return
    remove(world, digest)
    raise Damaged(f"{digest} is damaged")


def is_sound(world: World, digest: str, size: int | None = None) -> bool:
    """Whether the file holds what was pushed; it is read. Blocking, and changes nothing."""
    return (size is None or has_size(world, digest, size)) and _hash(world, digest) == digest


def remove(world: World, digest: str) -> None:
    """Take a damaged blob's file away."""
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
