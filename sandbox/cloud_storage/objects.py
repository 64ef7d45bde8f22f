"""Buckets and objects: uploads, and the logs of builds.

An object's content is a file, whose row is committed after the file is complete. The log of a build is the exception:
its file grows while the build runs.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import ApiError, not_found
from sandbox.state.clock import timestamp
from sandbox.state.disk import sync_folder
from sandbox.state.world import World


@dataclass(frozen=True)
class Bucket:
    """One bucket; `labels` is JSON."""

    name: str
    project: str
    location: str
    labels: str
    create_time: str

    @property
    def resource(self) -> str:
        """The resource name for policies."""
        return f"projects/{self.project}/buckets/{self.name}"


@dataclass(frozen=True)
class Stored:
    """One object.

    Attributes:
        file: relative to the state folder.
        md5: base64; empty for a growing log.
        fields: its metadata as JSON (`metadata.keep`).
    """

    bucket: str
    name: str
    generation: int
    file: str
    content_type: str
    md5: str
    create_time: str
    fields: str = "{}"

    def path(self, world: World) -> Path:
        """Return the path of the content."""
        return world.folder / self.file

    def size(self, world: World) -> int:
        """Return the present size in bytes."""
        path = self.path(world)
        return path.stat().st_size if path.exists() else 0


def find_bucket(rows: sqlite3.Connection, name: str) -> Bucket | None:
    """Return a bucket by its name, or None."""
    row = rows.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()
    return Bucket(**dict(row)) if row else None


def require_own(bucket: Bucket | None, project: str) -> Bucket:
    """Return a bucket with a predictable name, after checking its owner: another project may have taken the name.

    Raises:
        ApiError: FAILED_PRECONDITION if it is missing or belongs to another project.
    """
    if bucket is None or bucket.project != project:
        name = bucket.name if bucket else ""
        raise ApiError("FAILED_PRECONDITION", f"The bucket {name} is not one of project {project}.")  # unverified
    return bucket


def buckets(rows: sqlite3.Connection, project: str, prefix: str = "") -> list[Bucket]:
    """Return a project's buckets, sorted by name."""
    found = rows.execute("SELECT * FROM buckets WHERE project = ? ORDER BY name", (project,))
    return [Bucket(**dict(row)) for row in found if row["name"].startswith(prefix)]


def make_bucket(
    rows: sqlite3.Connection, world: World, name: str, project: str, location: str = "US", labels: str = "{}"
) -> None:
    """Add a bucket.

    Raises:
        sqlite3.IntegrityError: if the name is taken.
    """
    rows.execute(
        "INSERT INTO buckets (name, project, location, labels, create_time) VALUES (?, ?, ?, ?, ?)",
        (name, project, location, labels, timestamp(world.now())),
    )


def remove_bucket(rows: sqlite3.Connection, name: str) -> bool:
    """Delete a bucket and return True, or return False if it has objects."""
    if rows.execute("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (name,)).fetchone():
        return False
    rows.execute("DELETE FROM buckets WHERE name = ?", (name,))
    return True


def find(rows: sqlite3.Connection, bucket: str, name: str) -> Stored | None:
    """Return an object by bucket and name, or None."""
    row = rows.execute("SELECT * FROM objects WHERE bucket = ? AND name = ?", (bucket, name)).fetchone()
    return Stored(**dict(row)) if row else None


def in_bucket(rows: sqlite3.Connection, bucket: str, prefix: str = "") -> list[Stored]:
    """Return a bucket's objects, sorted by name."""
    found = rows.execute("SELECT * FROM objects WHERE bucket = ? ORDER BY name", (bucket,))
    return [Stored(**dict(row)) for row in found if row["name"].startswith(prefix)]


def part(world: World) -> Path:
    """Return the path of a new file for an upload."""
    folder = world.folder / "objects"
    folder.mkdir(exist_ok=True)
    return folder / f"part-{secrets.token_hex(16)}"


def keep(
    world: World,
    bucket: str,
    name: str,
    content: Path,
    content_type: str,
    *,
    describe: Callable[[Path, str], str] = lambda _content, _md5: "{}",
    allow: Callable[[Stored | None], None] = lambda _before: None,
) -> Stored:
    """Store a complete file as an object, replacing one of the same name. Blocking.

    Args:
        describe: returns `Stored.fields` for the file and its MD5, or raises.
        allow: raises to refuse replacing the given object; called in the transaction that replaces it.

    Raises:
        ApiError: NOT_FOUND if the bucket was deleted meanwhile.
    """
    with content.open("rb") as file:
        md5 = base64.b64encode(hashlib.file_digest(file, _md5).digest()).decode()
        os.fsync(file.fileno())
    fields = describe(content, md5)
    place = content.with_name(secrets.token_hex(16))
    content.rename(place)
    sync_folder(place.parent)
    try:
        with world.writing() as rows:
            if find_bucket(rows, bucket) is None:
                raise not_found("The specified bucket does not exist.")
            before = find(rows, bucket, name)
            allow(before)
            stored = _row(rows, world, bucket, name, f"objects/{place.name}", content_type, md5, fields)
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    if before is not None:
        before.path(world).unlink(missing_ok=True)
    return stored


def _md5() -> hashlib._Hash:
    # The API's checksum of an object, not for security.
    return hashlib.md5(usedforsecurity=False)


def _row(
    rows: sqlite3.Connection,
    world: World,
    bucket: str,
    name: str,
    file: str,
    content_type: str,
    md5: str,
    fields: str = "{}",
) -> Stored:
    now = timestamp(world.now())
    last = rows.execute("SELECT MAX(generation) AS last FROM objects").fetchone()["last"] or 0
    generation = max(int(world.now().timestamp() * 10**6), last + 1)
    stored = Stored(bucket, name, generation, file, content_type, md5, now, fields)
    rows.execute(
        "INSERT OR REPLACE INTO objects (bucket, name, generation, file, content_type, md5, create_time, fields)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (bucket, name, generation, file, content_type, md5, now, fields),
    )
    return stored


def add_growing(rows: sqlite3.Connection, world: World, bucket: str, name: str, file: str) -> None:
    """Add an object for a log file that is still being written."""
    _row(rows, world, bucket, name, file, "text/plain; charset=utf-8", "")


def remove(rows: sqlite3.Connection, world: World, stored: Stored) -> None:
    """Delete an object and its file."""
    rows.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (stored.bucket, stored.name))
    stored.path(world).unlink(missing_ok=True)
