"""Find the files of a Maven repository: its own, those of an upstream that it caches, or of several by priority."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from xml.etree import ElementTree as ET

from sandbox.artifact_registry import package_files, repository_modes
from sandbox.artifact_registry.catalog import Repository
from sandbox.artifact_registry.package_files import PackageFile
from sandbox.artifact_registry.upstream_calls import Missing, Unreachable
from sandbox.maven_repositories import layout
from sandbox.maven_repositories.layout import Place
from sandbox.package_hosts import remotes
from sandbox.package_hosts.upstreams import Upstream
from sandbox.state.world import World


def metadata(world: World, repository: Repository, place: Place) -> str | None:
    """Return the `maven-metadata.xml` of an artifact or of a snapshot, or None. Blocking.

    A remote repository passes on that of its upstream.
    """
    if repository.mode == repository_modes.VIRTUAL:
        having = remotes.first(world, repository, lambda one: metadata(world, one, place))
        return layout.merged([found for _, found in having if found])
    if repository.mode == repository_modes.REMOTE:

        def read(upstream: Upstream) -> str | None:
            if upstream.is_neighbour:
                return _made(world, upstream.address, place)
            return _fetched(upstream, place)

        found: str | None = remotes.page(world, repository, place.path, read)
        return found
    return _made(world, repository.name, place)


def has(world: World, repository: Repository, package: str) -> bool:
    """Return whether a repository that is not virtual has any version of an artifact such as `com.example:model`."""
    group, _, artifact = package.partition(":")
    path = f"{group.replace('.', '/')}/{artifact}/{layout.METADATA}"
    return metadata(world, repository, Place(path, group, artifact, "", layout.METADATA)) is not None


def fetch(world: World, repository: Repository, package: str, name: str) -> PackageFile | None:
    """Fetch a file into a remote repository and return it, or None if the upstream does not have it."""
    place = layout.parse(name)
    if place is None or place.is_metadata or place.checksum:
        return None
    file = PackageFile(repository.name, name, package, place.version, "", 0)
    return remotes.keep(world, repository, file, lambda upstream: upstream.url(name), _wrong(name))


def _wrong(name: str) -> remotes.Check:
    """Return a check against the checksum file beside a file; Maven accepts a file without one."""

    def check(part: Path, upstream: Upstream) -> str:
        try:
            words = upstream.fetch(f"{name}.sha1", "text/plain, */*").text.split()
        except Missing:
            return ""
        return remotes.differs(part, "sha1", words[0].lower()) if words else ""

    return check


def _fetched(upstream: Upstream, place: Place) -> str:
    """Return an upstream's metadata, after a check that it belongs to the place."""
    content = upstream.fetch(place.path, "text/xml, */*").content
    try:
        root = layout.read(content)
    except ET.ParseError:
        raise Unreachable(f"its {place.path} is no XML without declarations") from None
    # The metadata of a group lists its plugins and names no artifact.
    if root.findtext("artifactId") not in (None, place.artifact):
        raise Unreachable(f"its {place.path} is that of another artifact")
    return content.decode("utf-8", "replace")


def _made(world: World, repository: str, place: Place) -> str | None:
    """Return the metadata of a place from the files that a repository itself keeps."""
    with world.reading() as rows:
        if place.version:
            files = package_files.of_package(rows, repository, place.package)
            return layout.of_snapshot(place, (one.file_name for one in files if one.version == place.version))
        versions = _versions(rows, repository, place.package)
    return layout.of_versions(place, versions) if versions else None


def _versions(rows: sqlite3.Connection, repository: str, package: str) -> list[tuple[str, str]]:
    found = rows.execute(
        "SELECT digest, create_time FROM versions WHERE repository = ? AND package = ? ORDER BY create_time, digest",
        (repository, package),
    )
    return [(row[0], row[1]) for row in found]
