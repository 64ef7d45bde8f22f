"""The router of /v2: identify the caller and call the handler for a path and verb."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.api.principal import ANONYMOUS
from sandbox.artifact_registry.image_names import Image
from sandbox.doors import request_body
from sandbox.errors import RegistryError
from sandbox.oci import blobs, manifest_rules, manifests, pushes, referrers, remotes, signing, tags, token, uploads
from sandbox.oci.address import MISSING_IMAGE, Address, RegistryCall, image_of
from sandbox.oci.rights import DOWNLOAD, may
from sandbox.oci.token import Caller
from sandbox.state.world import World

VERSION = {"docker-distribution-api-version": "registry/2.0"}
_REFUSED = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN", "X-XSS-Protection": "0"}
_FORM_LIMIT = 64 << 10  # bytes of a token request

# The last match wins: an image may be called `manifests` itself.
_PATH = re.compile(
    r"/v2/(?P<name>.+)/(?:(?P<upload>blobs/uploads)/?|(?P<kind>blobs|manifests|referrers)/(?P<reference>[^/]+)"
    r"|(?P<tags>tags/list))"
)


@dataclass(frozen=True)
class Route:
    """The meaning of a path and a verb.

    Attributes:
        kind: begin (an upload), blobs, manifests, referrers or tags.
        action: the action that a registry token must have: pull, push or delete.
        scope: the actions in a challenge.
    """

    kind: str
    name: str
    reference: str
    action: str
    scope: str


# Verb to (action, scope of the challenge), by kind of path.
_PULL = {"GET": ("pull", "pull"), "HEAD": ("pull", "pull")}
_PUSH = ("push", "pull,push")
_VERBS = {
    "begin": {"POST": _PUSH},
    "blobs": {**_PULL, "DELETE": ("delete", "delete")},
    "manifests": {**_PULL, "PUT": _PUSH, "DELETE": ("delete", "delete")},
    "referrers": _PULL,
    "tags": _PULL,
}

# At signed addresses, which need no credential
_SIGNED = {"upload": ("GET", "PATCH", "PUT", "DELETE"), "download": ("GET", "HEAD")}

_PLAIN: dict[tuple[str, str], Callable[[RegistryCall, Caller], Response]] = {
    ("GET", "blobs"): blobs.look_up,
    ("HEAD", "blobs"): blobs.look_up,
    ("DELETE", "blobs"): blobs.remove,
    ("GET", "manifests"): manifests.read,
    ("HEAD", "manifests"): manifests.read,
    ("PUT", "manifests"): manifests.put,
    ("DELETE", "manifests"): manifests.remove,
    ("GET", "referrers"): referrers.list_referrers,
    ("HEAD", "referrers"): referrers.list_referrers,
    ("GET", "tags"): tags.list_tags,
    ("HEAD", "tags"): tags.list_tags,
}


def route(method: str, path: str) -> Route:
    """Return the route of a request for an image.

    Raises:
        RegistryError: NAME_INVALID for a path without an image, UNSUPPORTED for a verb that the path does not have.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        if re.search(r"/blobs/uploads/[^/]+$", path):
            # Other registries continue an upload here.
            raise RegistryError("BLOB_UPLOAD_UNKNOWN", "An upload goes on at the address that its POST gave")
        if re.search(r"/(blobs|manifests|tags|referrers)(/|$)", path):
            raise RegistryError("NAME_INVALID", MISSING_IMAGE)
        raise RegistryError("UNSUPPORTED", f"{path[:200]!r} is not an address of this registry", http_status=404)
    kind: str = "begin" if match["upload"] else match["kind"] or "tags"
    verbs = _VERBS[kind]
    if method not in verbs:
        raise _unsupported(method, verbs)
    action, scope = verbs[method]
    return Route(kind, match["name"], match["reference"] or "", action, scope)


def _unsupported(method: str, verbs: Iterable[str]) -> RegistryError:
    allow = ", ".join(verbs)
    return RegistryError("UNSUPPORTED", f"{method} is not supported here, only {allow}", headers={"Allow": allow})


async def _body(request: Request, limit: int) -> bytes:
    try:
        return await request_body.read(request, limit)
    except request_body.BodyTooLarge:
        raise uploads.too_large(limit) from None


async def _identify(world: World, address: Address, service: str, authorization: str, scope: str = "") -> Caller:
    if not authorization or token.is_quick(authorization):
        return token.identify(world, address, service, authorization, scope)
    return await asyncio.to_thread(token.identify, world, address, service, authorization, scope)


async def _token(request: Request, world: World, address: Address, service: str) -> Response:
    if request.method == "POST":
        try:
            form = dict(parse_qsl((await _body(request, _FORM_LIMIT)).decode(), keep_blank_values=True))
        except ValueError:
            raise RegistryError("UNSUPPORTED", "The token request is not a form in UTF-8", http_status=400) from None
        answer = await asyncio.to_thread(token.exchange, world, address, service, form)
    elif request.method == "GET":
        authorization = request.headers.get("authorization", "")
        scopes = request.query_params.getlist("scope")
        answer = await asyncio.to_thread(token.issue, world, address, service, authorization, scopes)
    else:
        raise RegistryError("UNSUPPORTED", f"{request.method} is not supported here", headers={"Allow": "GET, POST"})
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


async def _upload(call: RegistryCall, caller: Caller, request: Request) -> Response:
    match call.method:
        case "PATCH":
            return await pushes.append(call, caller, request)
        case "PUT":
            return await pushes.complete(call, caller, request)
        case "DELETE":
            return await pushes.cancel(call, caller)
        case _:
            return await pushes.status(call, caller)


def _scope(address: Address, image: Image, actions: str) -> str:
    return f"repository:{address.prefix}{image.path}:{actions}"


async def _answer(request: Request, world: World, address: Address) -> Response:
    service = request.headers.get("host", "")
    authorization = request.headers.get("authorization", "")
    if address.path == "/v2/token":
        return await _token(request, world, address, service)
    if address.path in ("/v2", "/v2/", "/v2/_catalog"):
        caller = await _identify(world, address, service, authorization)
        request.scope["sandbox.principal"] = caller.principal.email
        if request.method not in ("GET", "HEAD"):
            message = f"{request.method} is not supported here"
            raise RegistryError("UNSUPPORTED", message, headers={"Allow": "GET, HEAD"})
        if address.path == "/v2/_catalog":
            query = request.query_params
            return await asyncio.to_thread(tags.catalog, world, address, caller, query.get("n"), query.get("last"))
        return Response(media_type="text/html; charset=UTF-8")
    wanted = route(request.method, address.path)
    image = image_of(address.host, wanted.name)
    if not authorization and wanted.action == "pull" and may(world, ANONYMOUS, DOWNLOAD, image):
        # A public image can be read without a token.
        caller = Caller(ANONYMOUS)
    else:
        caller = await _identify(world, address, service, authorization, _scope(address, image, wanted.scope))
    request.scope["sandbox.principal"] = caller.principal.email
    if not caller.covers(image, wanted.action):
        raise token.challenge(
            address,
            service,
            _scope(address, image, wanted.scope),
            "insufficient_scope",
            f"The token does not cover {wanted.action} on {image.path}",
        )
    if not image.package and wanted.kind != "tags":
        raise RegistryError("NAME_INVALID", MISSING_IMAGE)
    call = RegistryCall(
        world,
        address,
        service,
        image,
        request.method,
        request.headers,
        request.query_params,
        wanted.reference,
        kind=wanted.kind,
    )
    if wanted.kind == "begin":
        return await pushes.begin(call, caller, request)
    if wanted.kind == "blobs" and blobs.is_quick(call) and remotes.is_plain(call):
        return blobs.look_up(call, caller)
    if request.method == "PUT":
        call = replace(call, content=await _body(request, manifest_rules.LIMIT))
    return await asyncio.to_thread(_PLAIN[request.method, wanted.kind], call, caller)


async def _answer_signed(request: Request, world: World, address: Address) -> Response:
    found = signing.open_address(world, address)
    request.scope["sandbox.principal"] = found.principal.email
    request.scope["sandbox.registry"] = found.address.host
    if request.method not in (verbs := _SIGNED[found.kind]):
        raise _unsupported(request.method, verbs)
    call = RegistryCall(
        world,
        found.address,
        request.headers.get("host", ""),
        image_of(found.address.host, found.name),
        request.method,
        request.headers,
        request.query_params,
        found.reference,
    )
    caller = Caller(found.principal)
    if found.kind == "upload":
        return await _upload(call, caller, request)
    if blobs.is_quick_download(call):
        return blobs.download(call, caller)
    return await asyncio.to_thread(blobs.download, call, caller)


async def serve(request: Request, world: World, address: Address) -> Response:
    """Answer one request to the registry, including refusals.

    For the log, stores the caller's e-mail address in `request.scope["sandbox.principal"]`, and at a signed address,
    whose path does not have it, the registry's host in `["sandbox.registry"]`.
    """
    answer = _answer_signed if signing.is_signed(address.path) else _answer
    try:
        response = await answer(request, world, address)
    except RegistryError as refusal:
        # With the final line break the refusal of an invalid credential has 102 bytes, as users report.
        content = json.dumps(refusal.body(), ensure_ascii=False, separators=(",", ":")) + "\n"
        headers = {**_REFUSED, **refusal.headers}
        response = Response(content, refusal.http_status, headers, "application/json; charset=utf-8")
    for name, value in VERSION.items():
        response.headers[name] = value
    return response
