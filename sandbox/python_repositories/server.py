"""Route the requests to a Python repository's host by path and verb."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sandbox.api.principal import Principal
from sandbox.artifact_registry.catalog import Repository
from sandbox.package_hosts import access, bodies, downloads, remotes, upstreams
from sandbox.package_hosts.address import Address
from sandbox.package_hosts.refusals import PackageRefusal, not_supported
from sandbox.python_repositories import distributions, index, sources, upload
from sandbox.state.world import World

CALLS = ("POST /P/R/", "GET /P/R/simple/", "GET /P/R/simple/PACKAGE/", "GET /P/R/PACKAGE/FILE")
_READ = ("GET", "HEAD")


async def serve(request: Request, world: World, address: Address) -> Response:
    """Answer one request to a Python repository; puts the caller's e-mail into the scope, for the request log."""
    authorization = request.headers.get("authorization", "")
    principal = await asyncio.to_thread(access.identify, world, authorization, address.host)
    request.scope["sandbox.principal"] = principal.email
    if request.method == "POST":
        return await _upload(request, world, address, principal)
    if request.method not in _READ:
        raise not_supported(request.method, "GET", "HEAD", "POST")
    return await asyncio.to_thread(_read, world, address, principal)


async def _upload(request: Request, world: World, address: Address, principal: Principal) -> Response:
    repository = await asyncio.to_thread(access.enter, world, principal, address, access.UPLOAD)
    upstreams.refuse_upload(repository)
    if address.rest not in ("", "/"):
        raise PackageRefusal(405, "Upload to the repository's own address: /PROJECT-ID/REPOSITORY/", {"Allow": "GET"})
    with bodies.scratch(world) as body:
        await bodies.receive(request, body)
        await asyncio.to_thread(upload.store, world, repository, body, request.headers.get("content-type", ""))
    return Response(status_code=200)


def _read(world: World, address: Address, principal: Principal) -> Response:
    repository = access.enter(world, principal, address, access.DOWNLOAD)
    match address.rest.split("/")[1:]:
        case ["simple", ""]:
            return HTMLResponse(index.root(sources.packages(world, repository)))
        case ["simple"]:
            return RedirectResponse(f"{address.url}/simple/", 301)
        case ["simple", package] | ["simple", package, ""]:
            return _package(world, address, repository, package)
        case [package, file] if package and file:
            return _file(world, repository, package, file)
    raise PackageRefusal(404, "Nothing is at this address. The index is at /PROJECT-ID/REPOSITORY/simple/")


def _package(world: World, address: Address, repository: Repository, name: str) -> Response:
    package = distributions.normalised(name)
    if package is None:
        raise PackageRefusal(404, f"{name[:200]!r} is not the name of a package.")
    if address.rest != f"/simple/{package}/":
        # PEP 503: "repositories SHOULD redirect [...] to the normalized URL".
        return RedirectResponse(f"{address.url}/simple/{package}/", 301)
    found = sources.links(world, repository, package)
    if not found:
        raise PackageRefusal(404, f"Package {package!r} was not found in the repository.")  # unverified: the text
    return HTMLResponse(index.page(package, found))


def _file(world: World, repository: Repository, package: str, name: str) -> Response:
    """Answer with a file's bytes; Google redirects to a signed address of Cloud Storage instead."""
    missing = PackageRefusal(404, f"File {package[:200]}/{name[:260]} was not found.")  # unverified: the text
    file = remotes.find(world, repository, package, f"{package}/{name}", sources)
    return downloads.send(world, downloads.whole(world, file, missing), lasts=True)
