"""The blob store: files named by the digest of their content, and their rows.

A blob's file is complete, synced and renamed before the row that names it is committed, so every blob with a row is
completely on disk, even after a power cut. A crash can leave files without a row, which `sweep` removes. Garbage
collection removes unreferenced blobs at the start and every hour.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import secrets
import shutil
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.artifact_registry import integrity
from sandbox.errors import RegistryError
from sandbox.state.clock import timestamp
from sandbox.state.disk import sync_folder
from sandbox.state.world import World

# OCI image-spec 1.1 descriptor.md "Digests": the two registered algorithms.
DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")

GRACE = dt.timedelta(days=1)  # how long an unreferenced blob is kept for a manifest that may still refer to it
IDLE = 3600.0  # seconds for which a blob is kept after a push relied on it, however old it is


class _Pushes:
    """The digests that pushes rely on.

    Attributes:
        lock: taken before a transaction, never inside one.
        used: when a push last relied on each, in monotonic seconds.
    """

    def __init__(self, _world: World) -> None:
        self.lock = threading.Lock()
        self.used: dict[str, float] = {}


def check_digest(digest: str) -> str:
    """Return the digest, or raise DIGEST_INVALID if it has neither registered form."""
    if not DIGEST.fullmatch(digest):
        expected = "sha256:<64 hex> or sha512:<128 hex>"
        raise RegistryError("DIGEST_INVALID", f"Invalid digest {digest[:200]!r}: expected {expected}")
    return digest


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of bytes, `sha256:…`."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def place(world: World, part: Path, digest: str) -> None:
    """Move a complete file into the store, synced. Blocking; call it from a thread, outside a transaction.

    An existing file is replaced unless it is known to be intact.
    """
    needed(world, digest)
    if integrity.is_unchanged(world, digest):
        # The file was synced before it was renamed, but the rename may not be on disk yet.
        sync_folder(integrity.path_of(world, digest).parent)
        part.unlink()
        return
    with part.open("rb") as file:
        os.fsync(file.fileno())
    _move(world, part, digest)


def store(world: World, content: bytes, digest: str) -> None:
    """Write a small blob (a manifest), synced. Blocking; call it from a thread, outside a transaction."""
    needed(world, digest)
    if _holds(world, digest, content):
        sync_folder(integrity.path_of(world, digest).parent)
        return
    part = world.folder / "uploads" / f"whole-{secrets.token_hex(16)}"
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _move(world, part, digest)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _holds(world: World, digest: str, content: bytes) -> bool:
    try:
        return integrity.path_of(world, digest).read_bytes() == content
    except FileNotFoundError:
        return False


def _move(world: World, part: Path, digest: str) -> None:
    target = integrity.path_of(world, digest)
    if not target.parent.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(target.parent.parent)
        sync_folder(world.folder / "blobs")
    part.rename(target)
    integrity.prove(world, digest)
    sync_folder(target.parent)


def record(rows: sqlite3.Connection, world: World, repository: str, digest: str, size: int) -> None:
    """Register a stored blob in a repository.

    Idempotent; an unreferenced blob gets a new timestamp, so that garbage collection spares it.
    """
    now = timestamp(world.now())
    rows.execute("INSERT OR IGNORE INTO blobs (digest, size, create_time) VALUES (?, ?, ?)", (digest, size, now))
    rows.execute(
        "INSERT INTO repository_blobs (repository, digest, create_time) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET create_time = excluded.create_time"
        " WHERE NOT EXISTS (SELECT 1 FROM version_blobs WHERE blob = excluded.digest"
        " AND version_blobs.repository = excluded.repository)"
        " AND NOT EXISTS (SELECT 1 FROM versions WHERE versions.repository = excluded.repository"
        " AND versions.digest = excluded.digest)",
        (repository, digest, now),
    )


def in_use(rows: sqlite3.Connection, repository: str, digest: str) -> bool:
    """Return whether a version in the repository is this blob or refers to it."""
    found = rows.execute(
        "SELECT EXISTS (SELECT 1 FROM version_blobs WHERE blob = ? AND repository = ?)"
        " OR EXISTS (SELECT 1 FROM versions WHERE repository = ? AND digest = ?)",
        (digest, repository, repository, digest),
    ).fetchone()
    return bool(found[0])


def forget(rows: sqlite3.Connection, repository: str, digest: str) -> None:
    """Remove a blob from a repository. The next collection deletes the file if no repository has the blob."""
    rows.execute("DELETE FROM repository_blobs WHERE repository = ? AND digest = ?", (repository, digest))


@dataclass(frozen=True)
class Blob:
    """A blob of a repository; `size` in bytes."""

    digest: str
    size: int


def find(rows: sqlite3.Connection, repository: str, digest: str) -> Blob | None:
    """Return the blob, or None if the repository does not have it."""
    row = rows.execute(
        "SELECT digest, size FROM repository_blobs JOIN blobs USING (digest) WHERE repository = ? AND digest = ?",
        (repository, digest),
    ).fetchone()
    return Blob(row["digest"], row["size"]) if row else None


def read(world: World, digest: str) -> bytes:
    """Return the bytes of a small blob (a manifest or a config), after checking their digest.

    Raises:
        FileNotFoundError: if the file is missing or damaged.
    """
    content = integrity.path_of(world, digest).read_bytes()
    if digest_of(content, digest.partition(":")[0]) != digest:
        integrity.remove(world, digest)
        raise integrity.Damaged(f"{digest} is damaged")
    return content


def needed(world: World, digest: str) -> None:
    """Keep a blob from being collected for an hour, since a push is about to rely on it.

    Call it before checking whether the blob exists: then a running collection has ended, and the next one spares it.
    """
    pushes = world.part(_Pushes)
    with pushes.lock:
        pushes.used[digest] = time.monotonic()


def is_collecting(world: World) -> bool:
    """Return whether `needed` would block, for example until a collection ends."""
    return world.part(_Pushes).lock.locked()


def collect(world: World, idle: float = IDLE) -> int:
    """Delete unreferenced blobs that are at least a day old and not in use by a push. Blocking.

    Args:
        idle: seconds after which a blob is no longer in use by the push that relied on it.

    Returns:
        the number of deleted files.
    """
    pushes = world.part(_Pushes)
    with pushes.lock:
        used = pushes.used
        for digest in [digest for digest, at in used.items() if at <= time.monotonic() - idle]:
            del used[digest]
        # Commit before deleting: a file without a row is harmless, a row without a file is corruption.
        with world.writing(tick=False) as rows:
            unused = rows.execute(
                "SELECT repository, digest FROM repository_blobs AS kept WHERE create_time < ?"
                " AND NOT EXISTS"
                " (SELECT 1 FROM version_blobs WHERE blob = kept.digest AND repository = kept.repository)"
                " AND digest NOT IN (SELECT digest FROM versions WHERE repository = kept.repository)",
                (timestamp(world.now() - GRACE),),
            ).fetchall()
            for row in unused:
                if row["digest"] not in used:
                    forget(rows, row["repository"], row["digest"])
            gone = rows.execute("SELECT digest FROM blobs WHERE digest NOT IN (SELECT digest FROM repository_blobs)")
            digests = [row["digest"] for row in gone if row["digest"] not in used]
            rows.executemany("DELETE FROM blobs WHERE digest = ?", [(digest,) for digest in digests])
        for digest in digests:
            integrity.path_of(world, digest).unlink(missing_ok=True)
    return len(digests)


def sweep(world: World) -> None:
    """Delete interrupted uploads, unreferenced blobs, and blob files without a row. Called at the start."""
    collect(world, idle=0)
    with world.reading() as rows:
        known = {row["digest"] for row in rows.execute("SELECT digest FROM blobs")}
    for part in (world.folder / "uploads").iterdir():
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink()
    for file in (world.folder / "blobs").glob("*/*/*"):
        if f"{file.parent.parent.name}:{file.name}" not in known:
            file.unlink()
