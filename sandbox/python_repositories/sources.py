"""Find the files of a Python repository: its own, those of an upstream that it caches, or of several by priority."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from sandbox.artifact_registry import package_files, repository_modes
from sandbox.artifact_registry.catalog import Repository
from sandbox.artifact_registry.package_files import PackageFile
from sandbox.package_hosts import remotes, upstreams
from sandbox.package_hosts.upstreams import Upstream
from sandbox.python_repositories import distributions, pages
from sandbox.python_repositories.index import Link
from sandbox.state.world import World


def packages(world: World, repository: Repository) -> list[str]:
    """Return the names of the packages for the repository's index page.

    A remote repository lists the packages that it has cached. # unverified: Google's list
    """
    if repository.mode == repository_modes.VIRTUAL:
        members = [one for group in upstreams.by_priority(world, repository) for one in group]
        return sorted({name for one in members for name in packages(world, one)})
    with world.reading() as rows:
        return package_files.packages(rows, repository.name)


def links(world: World, repository: Repository, package: str) -> list[Link]:
    """Return the files of a package; none if the repository does not have it."""
    if repository.mode == repository_modes.VIRTUAL:
        having = remotes.first(world, repository, lambda one: links(world, one, package))
        found = {link.file: link for _, here in reversed(having) for link in here}
        return sorted(found.values(), key=lambda link: link.file)
    if repository.mode == repository_modes.REMOTE:
        return [_link(entry) for entry in _remote(world, repository, package)]
    with world.reading() as rows:
        files = rows.execute(
            "SELECT name, blob, about ->> 'requires_python' AS requires FROM package_files"
            " WHERE repository = ? AND package = ? ORDER BY name",
            (repository.name, package),
        )
        return [Link(row[0].rpartition("/")[2], row[1].partition(":")[2], row[2] or "") for row in files]


def has(world: World, repository: Repository, package: str) -> bool:
    """Return whether a repository that is not virtual has any file of the package."""
    return bool(links(world, repository, package))


def fetch(world: World, repository: Repository, package: str, name: str) -> PackageFile | None:
    """Fetch a file into a remote repository and return it, or None if the upstream does not have it."""
    entry = next((one for one in _remote(world, repository, package) if f"{package}/{one['file']}" == name), None)
    named = distributions.parse(entry["file"]) if entry else None
    if entry is None or named is None:
        return None
    about = {"requires_python": entry["requires_python"]} if entry["requires_python"] else {}
    file = PackageFile(repository.name, name, package, named.version, "", 0, about)
    return remotes.keep(
        world,
        repository,
        file,
        lambda _: str(entry["url"]),
        lambda part, _: remotes.differs(part, "sha256", entry["sha256"]),
    )


def _link(entry: dict[str, Any]) -> Link:
    return Link(entry["file"], entry["sha256"], entry["requires_python"])


def _remote(world: World, repository: Repository, package: str) -> list[dict[str, Any]]:
    """Return the upstream's files of a package."""

    def read(upstream: Upstream) -> list[dict[str, Any]]:
        if upstream.is_neighbour:
            return _neighbour(world, upstream.address, package)
        return _index(upstream, package)

    return list(remotes.page(world, repository, package, read) or ())


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


def _index(upstream: Upstream, package: str) -> list[dict[str, Any]]:
    """Return the files of a package in an index; leaves out other packages' files and invalid names."""
    folder = "" if upstream.address.rstrip("/").endswith("/simple") else "simple/"
    answer = upstream.fetch(f"{folder}{package}/", pages.ACCEPT)
    entries = []
    for one in pages.read(answer.content, answer.headers.get("Content-Type", "")):
        named = distributions.parse(one["file"])
        target = urljoin(answer.url, one["url"])
        if named is not None and named.package == package and urlsplit(target).scheme in ("http", "https"):
            entries.append({**one, "url": target})
    return entries
