"""Route the requests to a Maven repository's host: store and send files by path, and make metadata from them."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from xml.etree import ElementTree as ET

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sandbox.artifact_registry import blobs, catalog, integrity, package_files
from sandbox.artifact_registry.catalog import Repository
from sandbox.maven_repositories import layout, sources
from sandbox.maven_repositories.layout import Place
from sandbox.package_hosts import access, bodies, downloads, remotes, upstreams
from sandbox.package_hosts.address import Address
from sandbox.package_hosts.refusals import PackageRefusal, not_supported
from sandbox.state.world import World

CALLS = ("PUT /P/R/GROUP/ARTIFACT/VERSION/FILE", "GET /P/R/GROUP/ARTIFACT/VERSION/FILE")
_READ = ("GET", "HEAD")
_SMALL = 1 << 20  # bytes of metadata, and of a checksum


async def serve(request: Request, world: World, address: Address) -> Response:
    """Answer one request to a Maven repository."""
    authorization = request.headers.get("authorization", "")
    principal = await asyncio.to_thread(access.identify, world, authorization, address.host)
    request.scope["sandbox.principal"] = principal.email
    if request.method not in (*_READ, "PUT"):
        raise not_supported(request.method, "GET", "HEAD", "PUT")
    right = access.UPLOAD if request.method == "PUT" else access.DOWNLOAD
    repository = await asyncio.to_thread(access.enter, world, principal, address, right)
    place = layout.parse(address.rest)
    if place is None:
        raise PackageRefusal(404, "The path is none of a Maven repository: GROUP/ARTIFACT/VERSION/FILE.")
    if request.method in _READ:
        return await asyncio.to_thread(_read, world, repository, place)
    upstreams.refuse_upload(repository)
    _check_policy(repository, place)
    with bodies.scratch(world) as body:
        limit = _SMALL if place.checksum or place.is_metadata else bodies.REQUEST_LIMIT
        await bodies.receive(request, body, limit)
        await asyncio.to_thread(_put, world, repository, place, body)
    return Response(status_code=201)


def _check_policy(repository: Repository, place: Place) -> None:
    """Refuse a version that the repository's policy excludes. # unverified: codes and texts."""
    policy = repository.message.get("mavenConfig", {}).get("versionPolicy", "")
    if place.version and (
        (policy == "RELEASE" and place.is_snapshot) or (policy == "SNAPSHOT" and not place.is_snapshot)
    ):
        raise PackageRefusal(400, f"Version {place.version} does not fit the repository's version policy {policy}.")


def _put(world: World, repository: Repository, place: Place, body: Path) -> None:
    """Keep a file; only compare a checksum or metadata, since both are made from the files.

    Raises:
        PackageRefusal: 400 for a wrong checksum or metadata, 409 for a file that exists already (unverified: the code).
    """
    if place.is_metadata:
        _check_metadata(place, body)
        return
    if place.checksum:
        claimed, found = body.read_text("ascii", "replace").split(maxsplit=1)[:1], _checksum(world, repository, place)
        if claimed != [found]:
            raise PackageRefusal(400, f"The {place.checksum} of {place.file} is {found}, not {''.join(claimed)[:128]}.")
        return
    with body.open("rb") as opened:
        digest = f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
    file = package_files.PackageFile(
        repository.name, place.path, place.package, place.version, digest, body.stat().st_size
    )
    blobs.place(world, body, digest)
    with world.writing() as rows:
        if catalog.find_repository(rows, repository.name) is None:
            raise PackageRefusal(404, f'Repository "{repository.id}" was not found.')
        known = package_files.find(rows, repository.name, place.path)
        overwrites = repository.message.get("mavenConfig", {}).get("allowSnapshotOverwrites", False)
        if known is not None and known.blob != digest:
            if not (place.is_snapshot and overwrites):
                raise PackageRefusal(409, f"{place.path} exists already, and a released file never changes.")
            package_files.remove(rows, known)
            known = None
        if known is None:
            package_files.add(rows, world, file)


def _check_metadata(place: Place, body: Path) -> None:
    if place.checksum:
        return  # It is the checksum of the client's own copy, which is never served.
    try:
        root = layout.read(body.read_bytes())
        named = (root.findtext("groupId"), root.findtext("artifactId"))
    except ET.ParseError:
        raise PackageRefusal(400, "The metadata is no XML without declarations.") from None
    if named != (place.group, place.artifact):
        raise PackageRefusal(400, f"The metadata is not that of {place.package}.")


def _read(world: World, repository: Repository, place: Place) -> Response:
    if place.checksum:
        return PlainTextResponse(_checksum(world, repository, place))
    if place.is_metadata:
        return Response(_metadata(world, repository, place), media_type="text/xml")
    return downloads.send(world, _find(world, repository, place), lasts=False)


def _missing(place: Place) -> PackageRefusal:
    return PackageRefusal(404, f"{place.path} was not found.")  # unverified: the text


def _find(world: World, repository: Repository, place: Place) -> package_files.PackageFile:
    file = remotes.find(world, repository, place.package, place.path, sources)
    return downloads.whole(world, file, _missing(place))


def _metadata(world: World, repository: Repository, place: Place) -> str:
    found = sources.metadata(world, repository, place)
    if found is None:
        raise _missing(place)
    return found


def _checksum(world: World, repository: Repository, place: Place) -> str:
    if place.is_metadata:
        return hashlib.new(place.checksum, _metadata(world, repository, place).encode()).hexdigest()
    with integrity.path_of(world, _find(world, repository, place).blob).open("rb") as opened:
        return hashlib.file_digest(opened, place.checksum).hexdigest()
