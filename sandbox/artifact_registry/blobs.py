"""Blobs: files named by the digest of their content, and the uploads that become blobs.

A blob's file is complete, synced and renamed into place before the row that names it is committed, so a blob that
has a row is on disk, whole, even after a power cut. Files without a row are leftovers of a crash; `sweep` removes them.
Blobs that no version needs are collected at the start and every hour.
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

GRACE = dt.timedelta(days=1)  # how long a blob that no version needs is kept for a push that may still name it
IDLE = 3600.0  # seconds for which a blob is kept that a push found here, however old it is


class _Pushes:
    """The digests that pushes rely on.

    Attributes:
        lock: taken before a transaction, never inside one.
        asked: when a push last asked for each, in monotonic seconds.
    """

    def __init__(self, _world: World) -> None:
        self.lock = threading.Lock()
        self.asked: dict[str, float] = {}


def check_digest(digest: str) -> str:
    """Return the digest itself.

    Raises:
        RegistryError: DIGEST_INVALID when it is not one of the two registered forms.
    """
    if not DIGEST.fullmatch(digest):
        expected = "sha256:<64 hex> or sha512:<128 hex>"
        raise RegistryError("DIGEST_INVALID", f"Invalid digest {digest[:200]!r}: expected {expected}")
    return digest


def blob_path(world: World, digest: str) -> Path:
    """Where a blob's bytes are."""
    return integrity.path_of(world, digest)


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """`sha256:…` of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def place(world: World, part: Path, digest: str) -> None:
    """Sync a finished file and rename it to its digest's place. Blocking; call it from a thread, in no transaction.

    A file that is there already stays only where it is known to hold the same bytes.
    """
    needed(world, digest)
    if integrity.is_unchanged(world, digest):
        # Synced before it was renamed; only the renaming may not be on disk yet.
        sync_folder(blob_path(world, digest).parent)
        part.unlink()
        return
    with part.open("rb") as file:
        os.fsync(file.fileno())
    _move(world, part, digest)


def store(world: World, content: bytes, digest: str) -> None:
    """Write a small blob (a manifest) whole. Blocking; call it from a thread, in no transaction."""
    needed(world, digest)
    if _holds(world, digest, content):
        sync_folder(blob_path(world, digest).parent)
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
        return blob_path(world, digest).read_bytes() == content
    except FileNotFoundError:
        return False


def _move(world: World, part: Path, digest: str) -> None:
    target = blob_path(world, digest)
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
    """Whether a version in the repository is, or refers to, this blob."""
    found = rows.execute(
        "SELECT EXISTS (SELECT 1 FROM version_blobs WHERE blob = ? AND repository = ?)"
        " OR EXISTS (SELECT 1 FROM versions WHERE repository = ? AND digest = ?)",
        (digest, repository, repository, digest),
    ).fetchone()
    return bool(found[0])


def forget(rows: sqlite3.Connection, repository: str, digest: str) -> None:
    """Take a blob out of a repository; its file goes with the next collection, when no repository has it."""
    rows.execute("DELETE FROM repository_blobs WHERE repository = ? AND digest = ?", (repository, digest))


@dataclass(frozen=True)
class Blob:
    """A blob that a repository holds; `size` in bytes."""

    digest: str
    size: int


def find(rows: sqlite3.Connection, repository: str, digest: str) -> Blob | None:
    """Return a blob, if the repository holds it."""
    row = rows.execute(
        "SELECT digest, size FROM repository_blobs JOIN blobs USING (digest) WHERE repository = ? AND digest = ?",
        (repository, digest),
    ).fetchone()
    return Blob(row["digest"], row["size"]) if row else None


def read(world: World, digest: str) -> bytes:
    """Return the bytes of a small blob (a manifest or a config), which are hashed each time.

    Raises:
        FileNotFoundError: when it is not there, or damaged.
    """
    content = blob_path(world, digest).read_bytes()
    if digest_of(content, digest.partition(":")[0]) != digest:
        integrity.remove(world, digest)
        raise integrity.Damaged(f"{digest} is damaged")
    return content


def needed(world: World, digest: str) -> None:
    """Say that a push is about to rely on a blob, if it is here: for an hour it is not collected.

    Comes before the look at whether it is here, so that a collection has either ended or leaves the blob.
    """
    pushes = world.part(_Pushes)
    with pushes.lock:
        pushes.asked[digest] = time.monotonic()


def is_collecting(world: World) -> bool:
    """Whether `needed` would wait: for a collection, which takes its time, or for a moment."""
    return world.part(_Pushes).lock.locked()


def collect(world: World, idle: float = IDLE) -> int:
    """Remove blobs that no version needs: those that came a day ago or earlier, and that no push asked for lately.

    Returns how many files are gone. Blocking.

    Args:
        idle: seconds after which a push that asked for a blob does not need it any more.
    """
    pushes = world.part(_Pushes)
    with pushes.lock:
        asked = pushes.asked
        for digest in [digest for digest, at in asked.items() if at <= time.monotonic() - idle]:
            del asked[digest]
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
                if row["digest"] not in asked:
                    forget(rows, row["repository"], row["digest"])
            gone = rows.execute("SELECT digest FROM blobs WHERE digest NOT IN (SELECT digest FROM repository_blobs)")
            digests = [row["digest"] for row in gone if row["digest"] not in asked]
            rows.executemany("DELETE FROM blobs WHERE digest = ?", [(digest,) for digest in digests])
        for digest in digests:
            blob_path(world, digest).unlink(missing_ok=True)
    return len(digests)


def sweep(world: World) -> None:
    """At start: remove uploads that a crash cut short, blobs unused for a day, and blob files that no row names."""
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
