"""Route the requests to an npm repository's host by path and verb."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.api import strict_json
from sandbox.api.principal import Principal
from sandbox.artifact_registry import catalog
from sandbox.artifact_registry.catalog import Repository
from sandbox.doors import request_body
from sandbox.npm_repositories import names, publish, sources
from sandbox.package_hosts import access, bodies, downloads, remotes, upstreams
from sandbox.package_hosts.address import Address
from sandbox.package_hosts.refusals import PackageRefusal, not_supported
from sandbox.state.world import World

CALLS = (
    "PUT /P/R/PACKAGE",
    "GET /P/R/PACKAGE",
    "GET /P/R/PACKAGE/-/FILE.tgz",
    "GET /P/R/-/package/PACKAGE/dist-tags",
    "PUT /P/R/-/package/PACKAGE/dist-tags/TAG",
    "DELETE /P/R/-/package/PACKAGE/dist-tags/TAG",
)
_SMALL = 4 << 10  # bytes of a version in quotes
_READ = ("GET", "HEAD")
_TAG_RIGHTS = {"PUT": access.CREATE_TAG, "DELETE": access.DELETE_TAG}


async def serve(request: Request, world: World, address: Address) -> Response:
    """Answer one request to an npm repository; npm shows the field `error` of a refusal's JSON."""
    try:
        return await _answer(request, world, address)
    except PackageRefusal as refusal:
        return JSONResponse({"error": refusal.message}, refusal.status, refusal.headers)


async def _answer(request: Request, world: World, address: Address) -> Response:
    authorization = request.headers.get("authorization", "")
    principal = await asyncio.to_thread(access.identify, world, authorization, address.host)
    request.scope["sandbox.principal"] = principal.email
    parts = address.rest.strip("/").split("/")
    if parts[:2] == ["-", "package"] and "dist-tags" in parts[3:5]:
        return await _dist_tags(request, world, address, principal, parts[2:])
    scoped = 2 if parts[0].startswith("@") else 1
    package, rest = "/".join(parts[:scoped]), parts[scoped:]
    if not names.is_name(package):
        raise PackageRefusal(404, "The path names no package.")
    if request.method == "PUT" and not rest:
        repository = await asyncio.to_thread(access.enter, world, principal, address, access.UPLOAD)
        upstreams.refuse_upload(repository)
        with bodies.scratch(world) as body:
            await bodies.receive(request, body, publish.LIMIT)
            await asyncio.to_thread(publish.store, world, repository, package, body)
        return JSONResponse({"ok": True, "id": package}, 201)
    if request.method not in _READ:
        raise not_supported(request.method, "GET", "HEAD", "PUT")
    return await asyncio.to_thread(_read, world, address, principal, package, rest)


def _read(world: World, address: Address, principal: Principal, package: str, rest: list[str]) -> Response:
    repository = access.enter(world, principal, address, access.DOWNLOAD)
    if rest[:1] == ["-"] and len(rest) == 2:
        return _file(world, repository, package, rest[1])
    document = _document(world, address, repository, package)
    if not rest:
        return JSONResponse(document)
    if len(rest) == 1:
        wanted = document["dist-tags"].get(rest[0], rest[0])
        if wanted in document["versions"]:
            return JSONResponse(document["versions"][wanted])
    raise PackageRefusal(404, f"{package} has no {'/'.join(rest)[:200]}.")


def _document(world: World, address: Address, repository: Repository, package: str) -> dict[str, Any]:
    """Return the document of a package: every version's manifest, the tags and the times."""
    found = sources.of(world, repository, package)
    if not found:
        raise PackageRefusal(404, f"Package {package!r} was not found in the repository.")  # unverified: the text
    versions = {
        version: {
            **about["manifest"],
            "_id": f"{package}@{version}",
            "dist": {
                "tarball": f"{address.url}/{quote(names.tarball(package, version), safe='/@')}",
                **{key: about[key] for key in ("shasum", "integrity") if about[key]},
            },
        }
        for version, about in found.versions.items()
    }
    return {"_id": package, "name": package, "dist-tags": found.tags, "versions": versions, "time": found.times}


def _file(world: World, repository: Repository, package: str, file: str) -> Response:
    name = f"{package}/-/{file}"
    missing = PackageRefusal(404, f"File {name[:300]} was not found.")  # unverified: the text
    found = remotes.find(world, repository, package, name, sources)
    return downloads.send(world, downloads.whole(world, found, missing), lasts=True)


async def _dist_tags(
    request: Request, world: World, address: Address, principal: Principal, parts: list[str]
) -> Response:
    """Answer `npm dist-tag ls`, `add` and `rm`: parts are PACKAGE, dist-tags and, for a change, the tag."""
    place = parts.index("dist-tags")
    package, rest = "/".join(parts[:place]), parts[place + 1 :]
    if request.method in _READ and not rest:
        repository = await asyncio.to_thread(access.enter, world, principal, address, access.DOWNLOAD)
        document = await asyncio.to_thread(_document, world, address, repository, package)
        return JSONResponse(document["dist-tags"])
    if request.method not in _TAG_RIGHTS or len(rest) != 1 or not names.is_tag(rest[0]):
        raise PackageRefusal(400, "A dist-tag begins with a letter, and is added and removed one by one.")
    repository = await asyncio.to_thread(access.enter, world, principal, address, _TAG_RIGHTS[request.method])
    upstreams.refuse_upload(repository)
    try:
        body = await request_body.read(request, _SMALL)
    except request_body.BodyTooLarge:
        raise PackageRefusal(413, "The body of a dist-tag is a version in quotes.") from None
    return await asyncio.to_thread(_change_tag, world, repository, package, rest[0], body if body else None)


def _change_tag(world: World, repository: Repository, package: str, tag: str, body: bytes | None) -> Response:
    version = None
    if body is not None:
        try:
            version = strict_json.loads(body)
        except ValueError:
            raise PackageRefusal(400, "The body of a dist-tag is a version in quotes.") from None
    with world.writing() as rows:
        if version is None:
            if not catalog.remove_tag(rows, repository, package, tag):
                raise PackageRefusal(404, f"{package} has no dist-tag {tag}.")
        elif not isinstance(version, str) or catalog.find_version(rows, repository.name, package, version) is None:
            raise PackageRefusal(404, f"{package} has no version {json.dumps(version)[:80]}.")
        else:
            catalog.set_tag(rows, world, repository, package, tag, version)
        return JSONResponse({"ok": True, "id": package, "dist-tags": sources.tags(rows, repository.name, package)})
