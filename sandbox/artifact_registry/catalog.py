"""Repositories, packages, versions and tags, and the rules by which they change.

Both `docker push` (`sandbox.oci`) and the API use them. Functions take an open transaction, so that a rule is checked
and the change is made in the same one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.artifact_registry.formats import host_of
from sandbox.artifact_registry.media_types import OCI_INDEX
from sandbox.state.clock import timestamp
from sandbox.state.world import World

# The artifact type of the index of a manifest's referrers that the registry itself creates.
REFERRERS_INDEX = OCI_INDEX


class CatalogRefusal(Exception):
    """A rule forbids the change. The registry and the API word their own refusals."""


class TagImmutable(CatalogRefusal):
    """The repository has immutable tags, and the change would move or remove one."""


class VersionTagged(CatalogRefusal):
    """The version has tags."""


class VersionHasParents(CatalogRefusal):
    """An index refers to the version."""


@dataclass(frozen=True)
class Repository:
    """One repository.

    Attributes:
        name: `projects/P/locations/L/repositories/R`.
        message: the Repository message as JSON, without names and times.
    """

    name: str
    project: str
    location: str
    id: str
    message: Mapping[str, Any]
    create_time: str
    update_time: str

    @property
    def immutable_tags(self) -> bool:
        """Whether tags cannot be moved or deleted."""
        return bool(self.message.get("dockerConfig", {}).get("immutableTags", False))

    @property
    def format(self) -> str:
        """The enum's name: DOCKER, PYTHON."""
        return str(self.message.get("format", "DOCKER"))

    @property
    def mode(self) -> str:
        """The enum's name: STANDARD_REPOSITORY, REMOTE_REPOSITORY, VIRTUAL_REPOSITORY."""
        return str(self.message.get("mode", "STANDARD_REPOSITORY"))

    @property
    def uri(self) -> str:
        """`us-central1-docker.pkg.dev/P/R`."""
        return f"{host_of(self.format, self.location)}/{self.project}/{self.id}"

    @classmethod
    def of(cls, row: sqlite3.Row) -> Repository:
        """Return the repository in a row of the table `repositories`."""
        return cls(**{**dict(row), "message": json.loads(row["message"])})


@dataclass(frozen=True)
class Version:
    """A manifest, or a version of a package of another format.

    Attributes:
        package: unescaped, with slashes: `team/nested`.
        digest: the version's name, which is a digest for images.
        media_type: empty if the version is not an image.
        size: bytes of the stored config and layers, without those of an index's children.
        build_time: RFC 3339 from the image's config, or empty.
        tags: sorted.
        client_annotations: set through the API; `annotations` are the manifest's own.
    """

    repository: str
    package: str
    digest: str
    media_type: str
    artifact_type: str
    subject: str
    size: int
    manifest_size: int
    annotations: Mapping[str, str]
    build_time: str
    create_time: str
    update_time: str
    tags: tuple[str, ...] = ()
    client_annotations: Mapping[str, str] = field(default_factory=dict)


def find_repository(rows: sqlite3.Connection, name: str) -> Repository | None:
    """Return a repository by its resource name, or None."""
    row = rows.execute("SELECT * FROM repositories WHERE name = ?", (name,)).fetchone()
    return Repository.of(row) if row else None


def with_tags(rows: sqlite3.Connection, found: Sequence[sqlite3.Row]) -> list[Version]:
    """Return the versions in rows of the table `versions`, all of one repository, reading their tags in one query."""
    if not found:
        return []
    keys = json.dumps([[row["package"], row["digest"]] for row in found])
    tags: dict[tuple[str, str], list[str]] = {}
    # CROSS JOIN fixes the order: for each of the few keys, an index lookup in `tags`.
    for row in rows.execute(
        "SELECT tags.package, tags.digest, tags.id FROM json_each(?) AS wanted CROSS JOIN tags"
        " ON tags.repository = ? AND tags.package = json_extract(wanted.value, '$[0]')"
        " AND tags.digest = json_extract(wanted.value, '$[1]') ORDER BY tags.id",
        (keys, found[0]["repository"]),
    ):
        tags.setdefault((row["package"], row["digest"]), []).append(row["id"])
    return [_version(row, tuple(tags.get((row["package"], row["digest"]), ()))) for row in found]


def _version(row: sqlite3.Row, tags: tuple[str, ...]) -> Version:
    texts = {name: json.loads(row[name]) for name in ("annotations", "client_annotations")}
    return Version(**{**dict(row), **texts, "tags": tags})


def find_version(rows: sqlite3.Connection, repository: str, package: str, digest: str) -> Version | None:
    """Return a version by digest, or None."""
    row = rows.execute(
        "SELECT * FROM versions WHERE repository = ? AND package = ? AND digest = ?", (repository, package, digest)
    ).fetchone()
    return with_tags(rows, [row])[0] if row else None


def versions(rows: sqlite3.Connection, repository: str, package: str | None = None) -> list[Version]:
    """Return all versions of a package, or of a whole repository, sorted by package and digest."""
    if package is None:
        found = rows.execute("SELECT * FROM versions WHERE repository = ? ORDER BY package, digest", (repository,))
    else:
        found = rows.execute(
            "SELECT * FROM versions WHERE repository = ? AND package = ? ORDER BY digest", (repository, package)
        )
    return with_tags(rows, found.fetchall())


def find_tag(rows: sqlite3.Connection, repository: str, package: str, tag: str) -> str | None:
    """Return the digest that a tag points to, or None."""
    row = rows.execute(
        "SELECT digest FROM tags WHERE repository = ? AND package = ? AND id = ?", (repository, package, tag)
    ).fetchone()
    return row["digest"] if row else None


def put_version(
    rows: sqlite3.Connection,
    world: World,
    version: Version,
    *,
    blobs: Iterable[str] = (),
    children: Sequence[str] = (),
) -> bool:
    """Add a version, its package if necessary, and its references; an existing version only gets a new update time.

    Args:
        blobs: digests of the stored config and layers.
        children: digests of an index's manifests, in the same package.

    Returns:
        whether the version is new.
    """
    now = timestamp(world.now())
    rows.execute(
        "INSERT INTO packages (repository, id, create_time, update_time) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET update_time = excluded.update_time",
        (version.repository, version.package, now, now),
    )
    key = (version.repository, version.package, version.digest)
    if find_version(rows, *key):
        rows.execute(
            "UPDATE versions SET update_time = ? WHERE repository = ? AND package = ? AND digest = ?", (now, *key)
        )
        return False
    rows.execute(
        "INSERT INTO versions (repository, package, digest, media_type, artifact_type, subject, size, manifest_size,"
        " annotations, build_time, create_time, update_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *key,
            version.media_type,
            version.artifact_type,
            version.subject,
            version.size,
            version.manifest_size,
            json.dumps(dict(version.annotations)),
            version.build_time,
            now,
            now,
        ),
    )
    rows.executemany("INSERT OR IGNORE INTO version_blobs VALUES (?, ?, ?, ?)", [(*key, blob) for blob in blobs])
    rows.executemany("INSERT OR IGNORE INTO children VALUES (?, ?, ?, ?)", [(*key, child) for child in children])
    if version.media_type:
        for watch in world.watchers:
            watch(rows, version)
    return True


def set_tag(
    rows: sqlite3.Connection, world: World, repository: Repository, package: str, tag: str, digest: str
) -> None:
    """Point a tag to a version of the package.

    Raises:
        TagImmutable: if the tag points to another version and the repository has immutable tags.
    """
    current = find_tag(rows, repository.name, package, tag)
    if current == digest:
        return
    if current is not None and repository.immutable_tags:
        raise TagImmutable(tag)
    now = timestamp(world.now())
    rows.execute(
        "INSERT INTO tags (repository, package, id, digest, create_time, update_time) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (repository, package, id)"
        " DO UPDATE SET digest = excluded.digest, update_time = excluded.update_time",
        (repository.name, package, tag, digest, now, now),
    )


def remove_tag(rows: sqlite3.Connection, repository: Repository, package: str, tag: str) -> bool:
    """Delete a tag, and return whether it existed.

    Raises:
        TagImmutable: if the repository has immutable tags.
    """
    if find_tag(rows, repository.name, package, tag) is None:
        return False
    if repository.immutable_tags:
        raise TagImmutable(tag)
    rows.execute("DELETE FROM tags WHERE repository = ? AND package = ? AND id = ?", (repository.name, package, tag))
    return True


def remove_version(
    rows: sqlite3.Connection, repository: Repository, package: str, digest: str, *, force: bool, dry_run: bool = False
) -> bool:
    """Delete a version, and its package if it was the last one. Return whether it existed.

    Args:
        force: also delete its tags ("If force=true, the version and any tags pointing to the version are deleted":
            the API's versions.delete).
        dry_run: only check whether it could be deleted.

    Raises:
        VersionHasParents: if an index refers to it; the message is the index's digest.
        VersionTagged: if it has tags and `force` is False.
        TagImmutable: if it has tags and the repository has immutable tags.
    """
    version = find_version(rows, repository.name, package, digest)
    if version is None:
        return False
    key = (repository.name, package, digest)
    parent = rows.execute(
        "SELECT parent FROM children WHERE repository = ? AND package = ? AND child = ? ORDER BY parent", key
    ).fetchone()
    if parent is not None:
        raise VersionHasParents(parent["parent"])
    if version.tags:
        if repository.immutable_tags:
            raise TagImmutable(version.tags[0])
        if not force:
            raise VersionTagged(", ".join(version.tags))
    if dry_run:
        return True
    if version.tags:
        rows.execute("DELETE FROM tags WHERE repository = ? AND package = ? AND digest = ?", key)
    rows.execute("DELETE FROM versions WHERE repository = ? AND package = ? AND digest = ?", key)
    subject = (repository.name, package, version.subject)
    other = "SELECT 1 FROM versions WHERE repository = ? AND package = ? AND subject = ? LIMIT 1"
    if version.subject and rows.execute(other, subject).fetchone() is None:
        drop_referrers_index(rows, *subject)
    left = rows.execute(
        "SELECT 1 FROM versions WHERE repository = ? AND package = ? LIMIT 1", (repository.name, package)
    ).fetchone()
    if left is None:
        rows.execute("DELETE FROM packages WHERE repository = ? AND id = ?", (repository.name, package))
    return True


def drop_referrers_index(rows: sqlite3.Connection, repository: str, package: str, subject: str) -> None:
    """Delete the tag of a manifest's referrers, and its index unless a client pushed it."""
    key = (repository, package, subject.replace(":", "-"))
    digest = find_tag(rows, *key)
    rows.execute("DELETE FROM tags WHERE repository = ? AND package = ? AND id = ?", key)
    rows.execute(
        "DELETE FROM versions WHERE repository = ? AND package = ? AND digest = ? AND artifact_type = ?"
        " AND digest NOT IN (SELECT digest FROM tags WHERE repository = ? AND package = ?)",
        (repository, package, digest, REFERRERS_INDEX, repository, package),
    )


def remove_package(rows: sqlite3.Connection, repository: Repository, package: str) -> bool:
    """Delete a package with all its versions and tags, and return whether it existed.

    Raises:
        TagImmutable: if it has tags and the repository has immutable tags.
    """
    tag = rows.execute(
        "SELECT id FROM tags WHERE repository = ? AND package = ? LIMIT 1", (repository.name, package)
    ).fetchone()
    if tag and repository.immutable_tags:
        raise TagImmutable(tag["id"])
    rows.execute("DELETE FROM tags WHERE repository = ? AND package = ?", (repository.name, package))
    removed = rows.execute("DELETE FROM packages WHERE repository = ? AND id = ?", (repository.name, package)).rowcount
    return removed > 0


def remove_repository(rows: sqlite3.Connection, name: str) -> bool:
    """Delete a repository with everything in it, and return whether it existed."""
    rows.execute("DELETE FROM tags WHERE repository = ?", (name,))
    return rows.execute("DELETE FROM repositories WHERE name = ?", (name,)).rowcount > 0


def stored_bytes(rows: sqlite3.Connection, repository: str) -> int:
    """Return the size of all blobs of a repository's versions: the API's sizeBytes, by which storage is billed."""
    row = rows.execute("SELECT bytes FROM stored_bytes WHERE repository = ?", (repository,)).fetchone()
    return int(row["bytes"]) if row else 0
