"""Dispatch every request of both doors: host name → API → method.

edge   Host: artifactregistry.googleapis.com          /v1/projects/...
port   Host: localhost:5001    /artifactregistry.googleapis.com/v1/projects/...
port   Host: localhost:5001    /v2/us-central1-docker.pkg.dev/P/R/I/...      the registry, as docker finds it
port   Host: 127.0.0.1:5001    /console/...                                  pages for a browser, with their own sign-in
port   Host: localhost:5001    /artifacts-downloads/namespaces/P/...         blobs and uploads, as it signed them
port   Host: localhost:5001    /github.com/OWNER/NAME.git, /api.github.com/...  the Git host, at this door alone
edge   Host: us-central1-python.pkg.dev           /P/R/simple/...             a package format
port   Host: localhost:5001    /_sandbox/...                                 the admin surface, with its own token
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from sandbox import calls, git_host, github_actions, maven_repositories, npm_repositories, oci, python_repositories
from sandbox.admin import faults, surface
from sandbox.admin.surface import Controls
from sandbox.api import system_parameters
from sandbox.api.methods import Api, Method
from sandbox.api.system_parameters import as_json, is_pretty
from sandbox.apis import APIS
from sandbox.artifact_registry import formats
from sandbox.artifact_registry.image_names import host_of, location_of
from sandbox.cloud_build import consent
from sandbox.cloud_run import front
from sandbox.console.serve import HOST as CONSOLE_HOST
from sandbox.console.serve import Console
from sandbox.doors import grpc_schema
from sandbox.doors.certificates import is_google
from sandbox.doors.pages import page
from sandbox.errors import ApiError, Refusal, is_disk_full, once, unexpected, unimplemented
from sandbox.git_host import front as git_front
from sandbox.github_actions import front as actions_front
from sandbox.oci import container_registry
from sandbox.package_hosts import address as package_hosts
from sandbox.package_hosts.refusals import PackageRefusal
from sandbox.redaction import redact
from sandbox.state.clock import timestamp
from sandbox.state.world import World

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

# As recorded on Google (facts/artifact-registry.md 1.6).
_JSON = "application/json; charset=UTF-8"
_HEADERS = {
    "Server": "ESF",
    "Vary": "Origin, X-Origin, Referer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "X-XSS-Protection": "0",
}

_FRONT = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Artifact Registry workbook sandbox</title>
<style>:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui;max-width:44rem;margin:2rem auto;padding:0 1rem}</style>
<h1>The workbook's sandbox</h1>
<p>A local Google Cloud, as far as the workbook goes. Nothing here leaves this machine, and nothing is billed.</p>
<ul>
<li>Docker pushes to <code>{{ host }}/us-central1-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE:TAG</code>.</li>
<li>Look in by hand: <code>http://{{ host }}/artifactregistry.googleapis.com/v1/projects/PROJECT/locations</code>
with <code>Authorization: Bearer $(gcloud auth print-access-token)</code>.</li>
<li>Look in by browser: <code>.venv/bin/workbook console</code> prints a link that signs you in.</li>
<li>A shell that talks to it: <code>eval "$(.venv/bin/workbook env)"</code>.</li>
</ul></html>"""

# Bytes of a body that are read before the caller is identified; most calls have fewer, and are identified only once.
_UNKNOWN_CALLERS = 64 << 10
_IN_MEMORY = 64 << 10  # bytes of a body that may spill into a file

# Paths of the plain port that do not exist on Google: the request log leaves them out.
_OWN = ("/_sandbox/", "/console")
# What to use instead of a whole service that is not implemented.
_INSTEAD = {
    "developerconnect.googleapis.com": (
        ". No flag of gcloud's triggers takes its links: connect a repository with "
        "`gcloud builds connections create github` and `gcloud builds repositories create`"
    )
}
# Format of packages to the function that answers on its hosts.
_PACKAGES = {"MAVEN": maven_repositories.serve, "NPM": npm_repositories.serve, "PYTHON": python_repositories.serve}

log = logging.getLogger("sandbox")


def front_page(request: Request) -> Response:
    """Return the page for somebody who opens the plain port in a browser."""
    port = request.url.port or 80
    return page(_FRONT, host=f"localhost:{port}")


@dataclass(frozen=True)
class Target:
    """The target of a request, from its host and path.

    Attributes:
        name: the request's own host, without the port.
        door: `edge` for a client that calls Google's host, `port` for one that calls localhost.
        host: Google's host name; empty if the path on the plain port names none.
        path: the decoded path on that host.
        address: the target of a request to the registry; None for every other request.
        api: the API that serves the host.
        method: the API's method for the verb and the path, with the path's variables.
    """

    name: str
    door: str
    host: str
    path: str
    address: oci.Address | None
    api: Api | None = None
    method: tuple[Method, dict[str, str]] | None = None


def _target(request: Request) -> Target:
    # An IPv6 address has colons of its own, in brackets.
    header = request.headers.get("host", "").lower()
    name = header.partition("]")[0] + "]" if header.startswith("[") else header.partition(":")[0]
    door = "edge" if is_google(name) else "port"
    host, path = name, request.scope["path"]
    if door == "port":
        first, _, rest = path.removeprefix("/").partition("/")
        known = is_google(first) or first in (*git_host.HOSTS, *github_actions.HOSTS)
        host, path = (first, f"/{rest}") if known else ("", path)
    if (address := _address(request, door, host, path)) is not None:
        return Target(name, door, host, path, address)
    api = next((api for api in APIS if api.serves(host)), None)
    raw = request.scope["raw_path"].decode("latin-1")
    raw = raw if door == "edge" else "/" + raw.removeprefix("/").partition("/")[2]
    return Target(name, door, host, path, None, api, api.find(request.method, raw) if api else None)


def _address(request: Request, door: str, host: str, path: str) -> oci.Address | None:
    """Return the address of a request to the registry, in any of its forms, or None for every other request.

    A signed address contains its host.
    """
    signed = oci.is_signed(path)
    if not signed and not path.startswith("/v2"):
        return None
    origin = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
    if host:
        location = location_of(host)
        base = origin if door == "edge" else f"{origin}/{host}"
        return oci.Address(host_of(location), path, base, "") if location else None
    if signed:
        return oci.Address("", path, origin, "")
    first, _, rest = path.removeprefix("/v2").lstrip("/").partition("/")
    if location := location_of(first):
        return oci.Address(host_of(location), f"/v2/{rest}", origin, f"{first}/")
    return oci.Address("", path, origin, "")


class Sandbox:
    """The ASGI application.

    Args:
        admin_token: the token of the admin surface.
    """

    def __init__(self, world: World, admin_token: str) -> None:
        self.world = world
        self.controls = Controls(world, admin_token)
        self.console = Console(self.controls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the sandbox speaks HTTP, not {scope['type']}")
        request = Request(scope, receive)
        target = _target(request)
        record = calls.RequestRecord()
        started = time.perf_counter()
        try:
            if len(request.headers.getlist("host")) > 1:
                # RFC 9112 section 3.2: a reader of the other one would see another request.
                response: Response = PlainTextResponse("A request names one host.\n", status_code=400)
            elif target.door == "port" and target.name not in _LOOPBACK:
                response = PlainTextResponse(
                    f"The sandbox does not know the host {target.name[:100]!r}. Ask for localhost, or put a Google "
                    "host name first in the path.\n",
                    status_code=421,
                )
            else:
                receive, send = await self._with_faults(request, target, send)
                response = await self._answer(Request(scope, receive), target, record)
        except ApiError as error:
            refusal = once(error) if "gcloud/" in request.headers.get("user-agent", "") else error
            listed = target.api is not None and target.api.lists_errors
            content = as_json(refusal.body(listed=listed), pretty=is_pretty(request.query_params))
            if refusal.http_status == HTTPStatus.NOT_MODIFIED:
                content = b""
            headers = {**_HEADERS, **refusal.headers}
            response = Response(content, refusal.http_status, headers, _JSON)
        except PackageRefusal as refusal:
            response = refusal.response()
        except Refusal as refusal:
            response = JSONResponse(refusal.body(), refusal.http_status, dict(refusal.headers))
        except (ClientDisconnect, faults.Cut):
            return
        except Exception as error:
            if is_disk_full(error):
                log.warning("%s %s%s: the disk is full", request.method, redact(target.host), redact(target.path))
            else:
                log.exception("%s %s%s failed", request.method, redact(target.host), redact(target.path))
            failure = unexpected(error, registry=target.address is not None)
            response = JSONResponse(failure.body(), failure.http_status)
        if target.host or not target.path.startswith(_OWN):
            kept = self.controls.requests.add(
                time=timestamp(self.world.now()),
                door=target.door,
                verb=request.method,
                host=redact(target.host or scope.get("sandbox.registry", "")),
                # A user may paste a token in place of a name.
                path=redact(target.path),
                query=scope["query_string"].decode("latin-1"),
                status=response.status_code,
                method=record.method,
                principal=scope.get("sandbox.principal") or record.principal,
                body=record.body,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
            )
            log.info(
                "%s %s %s%s %s %s", kept.status, kept.verb, kept.host, kept.path, kept.principal, kept.milliseconds
            )
        with contextlib.suppress(faults.Cut):
            await response(scope, receive, send)

    async def _with_faults(self, request: Request, target: Target, send: Send) -> tuple[Receive, Send]:
        """Apply a pending fault, if one matches, and return the receive and send to continue with."""
        if not self.controls.faults.waiting or target.path.startswith("/_sandbox/"):
            return request.receive, send
        where = target.address or target
        method = target.method[0].id if target.method else ""
        fault = self.controls.faults.take(where.host, where.path, request.method, method)
        if fault is None:
            return request.receive, send
        return await fault.apply(request.scope, request.receive, send, registry=target.address is not None)

    async def _answer(self, request: Request, target: Target, record: calls.RequestRecord) -> Response:
        if not target.host and target.path.startswith("/_sandbox/"):
            return await surface.answer(self.controls, request, target.path)
        if not target.host and f"{target.path}/".startswith("/console/"):
            return await self.console.answer(request)
        if not target.host and target.path == "/":
            return front_page(request)
        if target.address is not None:
            response: Response = await oci.serve(request, self.world, target.address)
            return response
        if target.host == "github.com" and target.path in consent.STAGES:
            return await consent.serve(self.world, request, target.path)
        if target.host in github_actions.HOSTS or actions_front.serves(target.host, target.path):
            return await actions_front.serve(self.world, request, target.host, target.path)
        if target.host in git_host.HOSTS:
            return await git_front.serve(self.world, request, target.host, target.path)
        if target.host.endswith(".run.app"):
            if target.name == CONSOLE_HOST and request.headers.get("sec-fetch-mode") == "navigate":
                # A service's page with the console's origin could read the console.
                return RedirectResponse(str(request.url.replace(hostname="localhost")), 307)
            return await front.serve(self.world, request, target.host, target.path, by_port=target.door == "port")
        if (found := formats.parse_host(target.host)) is not None and found[0] in _PACKAGES:
            origin = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
            base = origin if target.door == "edge" else f"{origin}/{target.host}"
            where = package_hosts.parse(target.host, base, target.path)
            return await _PACKAGES[where.format](request, self.world, where)
        if container_registry.serves(target.host):
            origin = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
            base = origin if target.door == "edge" else f"{origin}/{target.host}"
            return container_registry.answer(target.host, target.path, base)
        if target.api is None:
            instead = _INSTEAD.get(target.host, "")
            raise unimplemented(f"{request.method} {target.host}{target.path}{instead}")
        return await self._call(request, target.api, target, record)

    async def _call(self, request: Request, api: Api, target: Target, record: calls.RequestRecord) -> Response:
        if target.method is None:
            raise unimplemented(f"{request.method} {target.path} of {api.service}")
        method, params = target.method
        record.method = method.id
        wanted = system_parameters.read(request.query_params)
        known, limit = method.open_to_all, method.body_limit or api.body_limit
        with tempfile.SpooledTemporaryFile(_IN_MEMORY if method.spills else 0, dir=str(self.world.folder)) as body:
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if not known and size > _UNKNOWN_CALLERS:
                    await asyncio.to_thread(calls.identify, self.world, request, api, record)
                    known = True
                if size > limit:
                    raise ApiError(
                        "INVALID_ARGUMENT",
                        f"Request payload size exceeds the limit: {limit} bytes.",
                        http_status=413,
                    )
                body.write(chunk)
            spilled = method.spills and size > _IN_MEMORY
            body.seek(0)
            content = b"" if spilled else body.read()
            if not method.open_to_all:
                record.body = content[:65536]
            parsed = calls.ParsedRequest(
                request, api, method, target.host, params, content, cast(BinaryIO, body) if spilled else None
            )
            answer = await asyncio.to_thread(calls.make, self.world, parsed, record)
        if isinstance(answer, Response):
            return answer
        kind = grpc_schema.answer(api.service, request.method, target.path) if wanted.numbers else None
        return Response(wanted.write(answer, kind, api.enums), headers=_HEADERS, media_type=_JSON)
