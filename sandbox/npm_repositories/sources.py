"""Find the packages of an npm repository: its own, those of a registry that it caches, or of several by priority."""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from sandbox.artifact_registry import package_files, repository_modes
from sandbox.artifact_registry.catalog import Repository
from sandbox.artifact_registry.package_files import PackageFile
from sandbox.npm_repositories import names
from sandbox.package_hosts import remotes
from sandbox.package_hosts.upstreams import Upstream
from sandbox.state.world import World

_ABOUT = ("manifest", "shasum", "integrity")
# Fields that the server of a version adds again, or that no installation needs.
_LEFT_OUT = ("dist", "_id", "readme", "readmeFilename")


@dataclass(frozen=True)
class Package:
    """A package with all its versions.

    Attributes:
        versions: version to its manifest, shasum, integrity, and the URL of an upstream's tarball.
        tags: dist-tag to version.
        times: `created`, `modified` and each version to a time.
    """

    versions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether it has a version."""
        return bool(self.versions)

    def beside(self, other: Package) -> Package:
        """Return both as one; where they differ, this one wins."""
        return Package({**other.versions, **self.versions}, {**other.tags, **self.tags}, {**other.times, **self.times})


def kept(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a version's manifest that are kept."""
    return {key: value for key, value in manifest.items() if key not in _LEFT_OUT}


def tags(rows: sqlite3.Connection, repository: str, package: str) -> dict[str, str]:
    """Return the dist-tags that a repository itself keeps."""
    found = rows.execute(
        "SELECT id, digest FROM tags WHERE repository = ? AND package = ? ORDER BY id", (repository, package)
    )
    return {row["id"]: row["digest"] for row in found}


def of(world: World, repository: Repository, package: str) -> Package:
    """Return a package; without versions if the repository does not have it. Blocking."""
    if repository.mode == repository_modes.VIRTUAL:
        whole = Package()
        for _, here in reversed(remotes.first(world, repository, lambda one: of(world, one, package))):
            whole = here.beside(whole)
        return whole
    if repository.mode == repository_modes.REMOTE:

        def read(upstream: Upstream) -> dict[str, Any]:
            if upstream.is_neighbour:
                found = _own(world, upstream.address, package)
                return asdict(found) if found else {}
            return _registry(upstream, package)

        return Package(**(remotes.page(world, repository, package, read) or {}))
    return _own(world, repository.name, package)


def has(world: World, repository: Repository, package: str) -> bool:
    """Return whether a repository that is not virtual has any version of the package."""
    return bool(of(world, repository, package))


def fetch(world: World, repository: Repository, package: str, name: str) -> PackageFile | None:
    """Fetch a tarball into a remote repository and return its file, or None if the upstream does not have it."""
    found = of(world, repository, package).versions
    version = next((one for one in found if names.tarball(package, one) == name), None)
    if version is None:
        return None
    entry = found[version]
    about = {key: entry[key] for key in _ABOUT}
    file = PackageFile(repository.name, name, package, version, "", 0, about)
    return remotes.keep(world, repository, file, lambda _: str(entry["url"]), lambda part, _: _wrong(part, entry))


def _wrong(part: Path, entry: Mapping[str, Any]) -> str:
    kind, _, value = entry["integrity"].partition("-")
    if kind == "sha512":
        try:
            return remotes.differs(part, "sha512", base64.b64decode(value, validate=True).hex())
        except binascii.Error:
            return "has an integrity that is not in base64"
    return remotes.differs(part, "sha1", entry["shasum"])


def _own(world: World, repository: str, package: str) -> Package:
    with world.reading() as rows:
        files = package_files.of_package(rows, repository, package)
        known = tags(rows, repository, package)
        row = rows.execute(
            "SELECT create_time, update_time FROM packages WHERE repository = ? AND id = ?", (repository, package)
        ).fetchone()
    if not files or row is None:
        return Package()
    versions = {file.version: {**{key: file.about[key] for key in _ABOUT}, "url": repository} for file in files}
    times = {"created": row["create_time"], "modified": row["update_time"]}
    return Package(versions, known, times | {file.version: file.create_time for file in files})


def _registry(upstream: Upstream, package: str) -> dict[str, Any]:
    """Return a package in another registry: the versions whose manifest names the package and that have a tarball."""
    answer = upstream.fetch(quote(package, safe="@"), "application/json")
    try:
        document = answer.json()
        versions = {
            version: _version(answer.url, manifest)
            for version, manifest in document["versions"].items()
            if names.is_version(version) and (manifest["name"], manifest["version"]) == (package, version)
        }
        versions = {version: one for version, one in versions.items() if one["url"]}
        known = {tag: aim for tag, aim in (document.get("dist-tags") or {}).items() if aim in versions}
        times = {name: str(moment) for name, moment in (document.get("time") or {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return asdict(Package(versions, known, times)) if versions else {}


def _version(address: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    dist = manifest["dist"]
    url = urljoin(address, str(dist.get("tarball", "")))
    return {
        "manifest": kept(manifest),
        "shasum": str(dist.get("shasum", "")),
        "integrity": str(dist.get("integrity", "")),
        "url": url if dist.get("tarball") and urlsplit(url).scheme in ("http", "https") else "",
    }
