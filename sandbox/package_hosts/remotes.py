"""Cache the upstream of a remote repository, and choose among those of a virtual one, for every format.

An index is fetched again after a while, a file only once. While the upstream fails, the cached copy is served.
https://cloud.google.com/artifact-registry/docs/repositories/remote-overview
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sandbox.artifact_registry import blobs, catalog, package_files, repository_modes, upstream_calls
from sandbox.artifact_registry.catalog import Repository
from sandbox.artifact_registry.package_files import PackageFile
from sandbox.artifact_registry.upstream_calls import Missing, Unreachable
from sandbox.package_hosts import bodies, upstreams
from sandbox.package_hosts.refusals import PackageRefusal
from sandbox.package_hosts.upstreams import Upstream
from sandbox.state.world import World

_T = TypeVar("_T")

# Returns what is wrong with a fetched file, or an empty text.
Check = Callable[[Path, Upstream], str]

# "Python: index files, 1 hour": remote-overview. # unverified: that npm's and Maven's indexes have the same age
INDEX_AGE = dt.timedelta(hours=1)


class Source(Protocol):
    """How one format looks into a repository that is not virtual."""

    def has(self, world: World, repository: Repository, package: str) -> bool:
        """Return whether the repository has any version of the package."""

    def fetch(self, world: World, repository: Repository, package: str, name: str) -> PackageFile | None:
        """Fetch a file into a remote repository and return it, or None if the upstream does not have it."""


def page(world: World, repository: Repository, path: str, read: Callable[[Upstream], Any]) -> Any:
    """Return the upstream's page for a path, from the cache if it is young or the upstream fails. Blocking.

    Args:
        read: asks the upstream and returns a value that JSON can hold; empty if the upstream has no such page.

    Raises:
        PackageRefusal: 502 if the upstream fails and nothing is cached.
    """
    kept, young = upstreams.kept_page(world, repository, path, INDEX_AGE)
    if young:
        return kept
    try:
        found = read(upstreams.of(world, repository))
    except Missing:
        found = None
    except Unreachable as error:
        if kept is not None:
            return kept
        raise upstreams.unreachable(repository, error) from None
    if found or kept is not None:
        upstreams.keep_page(world, repository, path, found)
    return found


def find(world: World, repository: Repository, package: str, name: str, source: Source) -> PackageFile | None:
    """Return a file; a remote repository fetches and keeps it if it does not have it yet. Blocking.

    In a virtual repository, only the upstreams of the highest priority that have the package count: "prioritize the
    standard repository if a version of the same package exists in both" (virtual-overview).
    """
    if repository.mode == repository_modes.VIRTUAL:
        having = first(world, repository, lambda one: source.has(world, one, package))
        found = (find(world, one, package, name, source) for one, _ in having)
        return next((file for file in found if file is not None), None)
    with world.reading() as rows:
        kept = package_files.find(rows, repository.name, name)
    if kept is not None or repository.mode != repository_modes.REMOTE:
        return kept
    return source.fetch(world, repository, package, name)


def first(world: World, virtual: Repository, look: Callable[[Repository], _T]) -> list[tuple[Repository, _T]]:
    """Return the upstreams of the highest priority for which `look` finds something, each with its result.

    Upstreams of equal priority are put together. # unverified: as far as one package's versions go
    """
    for group in upstreams.by_priority(world, virtual):
        if having := [(one, found) for one in group if (found := look(one))]:
            return having
    return []


def keep(
    world: World,
    repository: Repository,
    file: PackageFile,
    where: Callable[[Upstream], str],
    check: Check,
) -> PackageFile | None:
    """Fetch a file from the upstream and keep it. Blocking.

    Args:
        file: without blob and size.
        where: returns its address, or the resource name of a neighbour in Artifact Registry.
        check: returns what is wrong with the bytes, or an empty text.

    Returns:
        The file as it is kept; None if the upstream or the repository itself no longer exists.

    Raises:
        PackageRefusal: 502 if the upstream fails or sends other bytes than it announced.
    """
    with bodies.scratch(world) as part:
        try:
            upstream = upstreams.of(world, repository)
            url = where(upstream)
            if not upstream.is_neighbour:
                upstream_calls.download(url, part, upstream.credentials_for(url))
            wrong = "" if upstream.is_neighbour else check(part, upstream)
        except Missing:
            return None
        except Unreachable as error:
            raise upstreams.unreachable(repository, error) from None
        if wrong:
            raise PackageRefusal(502, f"The upstream's {file.file_name} {wrong}.")
        if upstream.is_neighbour:
            with world.reading() as rows:
                original = package_files.find(rows, url, file.name)
            if original is None:
                return None
            digest, size = original.blob, original.size
            blobs.needed(world, digest)
        else:
            with part.open("rb") as opened:
                digest = f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
            size = part.stat().st_size
            blobs.place(world, part, digest)
        with world.writing(tick=False) as rows:
            if catalog.find_repository(rows, repository.name) is None:
                return None
            # Another request may have fetched the file at the same time.
            with contextlib.suppress(package_files.FileExists):
                package_files.add(rows, world, dataclasses.replace(file, blob=digest, size=size))
            return package_files.find(rows, repository.name, file.name)


def differs(path: Path, algorithm: str, wanted: str) -> str:
    """Return how a file's digest differs from the wanted one; empty if they agree or none is wanted."""
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, algorithm).hexdigest()
    return f"has the {algorithm} {found}, not {wanted[:128]}" if wanted and wanted != found else ""
