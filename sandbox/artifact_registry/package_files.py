"""Files of packages that are no images: a name in the repository, the version that owns it, the blob with its bytes.

Files of a repository of images have no row here: they are named by their digests (`sandbox.artifact_registry.files`).
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
        about: what the format's index says of it.
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
        """Hexadecimal."""
        return self.blob.partition(":")[2]

    @property
    def file_name(self) -> str:
        """The name without what comes before it in the repository."""
        return self.name.rpartition("/")[2]

    @classmethod
    def of(cls, row: sqlite3.Row) -> PackageFile:
        """From a row with the blob's size."""
        return cls(**{**dict(row), "about": json.loads(row["about"])})


def add(rows: sqlite3.Connection, world: World, file: PackageFile) -> None:
    """Add a file whose blob is stored, its version and package if they are new.

    Raises:
        FileExists: nothing is changed then.
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
    """Return a file by its name in the repository."""
    row = rows.execute(f"{_FOUND} AND name = ?", (repository, name)).fetchone()
    return PackageFile.of(row) if row else None


def remove(rows: sqlite3.Connection, file: PackageFile) -> None:
    """Remove one file of a version, which stays."""
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
    """Every file of a package, by name."""
    found = rows.execute(f"{_FOUND} AND package = ? ORDER BY name", (repository, package))
    return [PackageFile.of(row) for row in found]


def packages(rows: sqlite3.Connection, repository: str) -> list[str]:
    """Return the names of a repository's packages."""
    found = rows.execute("SELECT id FROM packages WHERE repository = ? ORDER BY id", (repository,))
    return [row["id"] for row in found]
