"""Where a Python repository's files come from: itself, an upstream that it caches, or several upstreams by priority."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from typing import Any
from urllib.parse import urljoin, urlsplit

from sandbox.artifact_registry import blobs, catalog, package_files, repository_modes
from sandbox.artifact_registry.catalog import Repository
from sandbox.artifact_registry.package_files import PackageFile
from sandbox.package_hosts import bodies, upstreams
from sandbox.package_hosts.refusals import PackageRefusal
from sandbox.python_repositories import distributions, pages
from sandbox.python_repositories.index import Link
from sandbox.state.world import World

INDEX_AGE = dt.timedelta(hours=1)  # "Python: index files, 1 hour": remote-overview


def packages(world: World, repository: Repository) -> list[str]:
    """Return the names of the packages that the repository's own page lists.

    A remote repository lists what it has cached. # unverified: what Google lists there
    """
    if repository.mode == repository_modes.VIRTUAL:
        members = [one for group in upstreams.by_priority(world, repository) for one in group]
        return sorted({name for one in members for name in packages(world, one)})
    with world.reading() as rows:
        return package_files.packages(rows, repository.name)


def links(world: World, repository: Repository, package: str) -> list[Link]:
    """Return the files of a package; none where the repository does not have it.

    Of a virtual repository's upstreams those of the highest priority that have the package decide alone: "prioritize
    the standard repository if a version of the same package exists in both" (virtual-overview). Equal priorities are
    put together. # unverified: both, as far as one package's versions go
    """
    if repository.mode == repository_modes.VIRTUAL:
        for group in upstreams.by_priority(world, repository):
            found = {link.file: link for one in reversed(group) for link in links(world, one, package)}
            if found:
                return sorted(found.values(), key=lambda link: link.file)
        return []
    if repository.mode == repository_modes.REMOTE:
        return [_link(entry) for entry in _remote(world, repository, package)]
    with world.reading() as rows:
        files = rows.execute(
            "SELECT name, blob, about ->> 'requires_python' AS requires FROM package_files"
            " WHERE repository = ? AND package = ? ORDER BY name",
            (repository.name, package),
        )
        return [Link(row[0].rpartition("/")[2], row[1].partition(":")[2], row[2] or "") for row in files]


def find(world: World, repository: Repository, package: str, name: str) -> PackageFile | None:
    """Return a file, fetched and kept where a remote repository does not have it yet. Blocking."""
    if repository.mode == repository_modes.VIRTUAL:
        for group in upstreams.by_priority(world, repository):
            having = [one for one in group if links(world, one, package)]
            if having:
                found = (find(world, one, package, name) for one in having)
                return next((file for file in found if file is not None), None)
        return None
    with world.reading() as rows:
        kept = package_files.find(rows, repository.name, f"{package}/{name}")
    if kept is not None or repository.mode != repository_modes.REMOTE:
        return kept
    entry = next((one for one in _remote(world, repository, package) if one["file"] == name), None)
    return _fetch(world, repository, package, entry) if entry else None


def _link(entry: dict[str, Any]) -> Link:
    return Link(entry["file"], entry["sha256"], entry["requires_python"])


def _remote(world: World, repository: Repository, package: str) -> list[dict[str, Any]]:
    """Return the upstream's files of a package, as it said within the last hour, or when it last answered."""
    kept, young = upstreams.kept_page(world, repository, package, INDEX_AGE)
    if young:
        return list(kept)
    address = upstreams.address_of(world, repository)
    try:
        page = _neighbour(world, address, package) if address.startswith("projects/") else _index(address, package)
    except upstreams.Missing:
        page = []
    except upstreams.Unreachable as error:
        if kept is not None:
            return list(kept)
        raise upstreams.unreachable(repository, error) from None
    if page or kept is not None:
        upstreams.keep_page(world, repository, package, page)
    return page


def _neighbour(world: World, name: str, package: str) -> list[dict[str, Any]]:
    """Return the files of a package in a standard repository of Artifact Registry."""
    with world.reading() as rows:
        files = package_files.of_package(rows, name, package)
    return [
        {
            "file": one.file_name,
            "sha256": one.sha256,
            "requires_python": str(one.about.get("requires_python", "")),
            "url": one.repository,
        }
        for one in files
    ]


def _index(address: str, package: str) -> list[dict[str, Any]]:
    """Return the files of a package as an index says them, that are no other package's and have sound names."""
    base = address.rstrip("/")
    base = base if base.endswith("/simple") else f"{base}/simple"
    url = f"{base}/{package}/"
    answer = upstreams.fetch(url, pages.ACCEPT)
    found = pages.read(answer.content, answer.headers.get("Content-Type", ""))
    entries = []
    for one in found:
        named = distributions.parse(one["file"])
        target = urljoin(answer.url, one["url"])
        if named is not None and named.package == package and urlsplit(target).scheme in ("http", "https"):
            entries.append({**one, "url": target})
    return entries


def _fetch(world: World, repository: Repository, package: str, entry: dict[str, Any]) -> PackageFile | None:
    with bodies.scratch(world) as part:
        if entry["url"].startswith("projects/"):
            with world.reading() as rows:
                original = package_files.find(rows, entry["url"], f"{package}/{entry['file']}")
            if original is None:
                return None
            digest, size = original.blob, original.size
            blobs.needed(world, digest)
        else:
            try:
                upstreams.download(entry["url"], part)
            except upstreams.Missing:
                return None
            except upstreams.Unreachable as error:
                raise upstreams.unreachable(repository, error) from None
            with part.open("rb") as opened:
                sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            if entry["sha256"] and entry["sha256"] != sha256:
                raise PackageRefusal(
                    502, f"The upstream's {entry['file']} has the sha256 {sha256}, not {entry['sha256']}."
                )
            digest, size = f"sha256:{sha256}", part.stat().st_size
            blobs.place(world, part, digest)
        named = distributions.parse(entry["file"])
        if named is None:
            return None
        about = {"requires_python": entry["requires_python"]} if entry["requires_python"] else {}
        name = f"{package}/{entry['file']}"
        file = PackageFile(repository.name, name, package, named.version, digest, size, about)
        with world.writing(tick=False) as rows:
            if catalog.find_repository(rows, repository.name) is None:
                return None
            # Another request may have fetched it at the same time.
            with contextlib.suppress(package_files.FileExists):
                package_files.add(rows, world, file)
            return package_files.find(rows, repository.name, name)
