"""The files of packages other than images: their names, versions and blobs.

The files of images have no row here; their names are digests (`sandbox.artifact_registry.files`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.artifact_registry import blobs, catalog
from sandbox.state.clock import timestamp
from sandbox.state.world import World

_FOUND = (
    "SELECT package_files.*, blobs.size FROM package_files JOIN blobs ON blobs.digest = package_files.blob"
    " WHERE package_files.repository = ?"
)


class FileExists(Exception):
    """The repository has a file of that name already."""


@dataclass(frozen=True)
class PackageFile:
    """One file of a version.

    Attributes:
        repository: resource name.
        name: in the repository, `ml-model/ml_model-1.0-py3-none-any.whl`.
        version: as its format writes it, `1.0`.
        blob: `sha256:…`.
        size: bytes.
        about: the file's metadata in the format's index.
    """

    repository: str
    name: str
    package: str
    version: str
    blob: str
    size: int
    about: Mapping[str, Any] = field(default_factory=dict)
    create_time: str = ""

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content, in hexadecimal."""
        return self.blob.partition(":")[2]

    @property
    def file_name(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @classmethod
    def of(cls, row: sqlite3.Row) -> PackageFile:
        """Return the file in a row of `_FOUND`."""
        return cls(**{**dict(row), "about": json.loads(row["about"])})


def add(rows: sqlite3.Connection, world: World, file: PackageFile) -> None:
    """Add a file whose blob is stored, and its version and package if necessary.

    Raises:
        FileExists: if there is one of that name; nothing is changed then.
    """
    if find(rows, file.repository, file.name) is not None:
        raise FileExists(file.name)
    now = timestamp(world.now())
    blobs.record(rows, world, file.repository, file.blob, file.size)
    key = (file.repository, file.package, file.version)
    version = catalog.Version(*key, "", "", "", 0, 0, {}, "", now, now)
    catalog.put_version(rows, world, version)
    rows.execute("INSERT OR IGNORE INTO version_blobs VALUES (?, ?, ?, ?)", (*key, file.blob))
    rows.execute(
        "UPDATE versions SET size = size + ? WHERE repository = ? AND package = ? AND digest = ?", (file.size, *key)
    )
    rows.execute(
        "INSERT INTO package_files (repository, name, package, version, blob, about, create_time)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (file.repository, file.name, file.package, file.version, file.blob, json.dumps(dict(file.about)), now),
    )


def find(rows: sqlite3.Connection, repository: str, name: str) -> PackageFile | None:
    """Return a file by its name in the repository, or None."""
    row = rows.execute(f"{_FOUND} AND name = ?", (repository, name)).fetchone()
    return PackageFile.of(row) if row else None


def remove(rows: sqlite3.Connection, file: PackageFile) -> None:
    """Delete one file. Its version stays."""
    key = (file.repository, file.package, file.version)
    rows.execute("DELETE FROM package_files WHERE repository = ? AND name = ?", (file.repository, file.name))
    rows.execute(
        "UPDATE versions SET size = size - ? WHERE repository = ? AND package = ? AND digest = ?", (file.size, *key)
    )
    others = "SELECT 1 FROM package_files WHERE repository = ? AND package = ? AND version = ? AND blob = ?"
    if rows.execute(others, (*key, file.blob)).fetchone() is None:
        rows.execute(
            "DELETE FROM version_blobs WHERE repository = ? AND package = ? AND version = ? AND blob = ?",
            (*key, file.blob),
        )


def of_package(rows: sqlite3.Connection, repository: str, package: str) -> list[PackageFile]:
    """Return the files of a package, sorted by name."""
    found = rows.execute(f"{_FOUND} AND package = ? ORDER BY name", (repository, package))
    return [PackageFile.of(row) for row in found]


def packages(rows: sqlite3.Connection, repository: str) -> list[str]:
    """Return the names of a repository's packages."""
    found = rows.execute("SELECT id FROM packages WHERE repository = ? ORDER BY id", (repository,))
    return [row["id"] for row in found]
