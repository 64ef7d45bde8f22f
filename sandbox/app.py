"""The one dispatch table: host name → API → method, behind both doors.

edge   Host: artifactregistry.googleapis.com          /v1/projects/...
port   Host: localhost:5001    /artifactregistry.googleapis.com/v1/projects/...
port   Host: localhost:5001    /v2/us-central1-docker.pkg.dev/P/R/I/...      the registry, as docker finds it
port   Host: localhost:5001    /_sandbox/...                                 the admin surface, with its own token
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from sandbox import calls, oci
from sandbox.admin import faults, surface
from sandbox.admin.surface import Controls
from sandbox.api.methods import Api
from sandbox.apis import APIS
from sandbox.artifact_registry.image_names import host_of, location_of
from sandbox.cloud_run import front
from sandbox.doors.certificates import is_google
from sandbox.doors.pages import page
from sandbox.errors import ApiError, Refusal, is_disk_full, unexpected, unimplemented
from sandbox.redaction import redact
from sandbox.state.clock import timestamp
from sandbox.state.world import World

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

# As recorded on Google (facts/artifact-registry.md 1.6).
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
<li>A shell that talks to it: <code>eval "$(.venv/bin/workbook env)"</code>.</li>
</ul></html>"""

# Bytes of a body that are held before it is asked who sends them; most calls have fewer, and are asked once.
_UNKNOWN_CALLERS = 64 << 10

log = logging.getLogger("sandbox")


def front_page(request: Request) -> Response:
    """Return what a person sees who opens the plain port in a browser."""
    port = request.url.port or 80
    return page(_FRONT, host=f"localhost:{port}")


class Sandbox:
    """The ASGI application.

    Args:
        admin_token: what the admin surface asks for.
    """

    def __init__(self, world: World, admin_token: str) -> None:
        self.world = world
        self.controls = Controls(world, admin_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the sandbox speaks HTTP, not {scope['type']}")
        request = Request(scope, receive)
        told = calls.Told()
        started = time.perf_counter()
        name, _, _ = request.headers.get("host", "").lower().partition(":")
        door = "edge" if is_google(name) else "port"
        host, path = (name, scope["path"]) if door == "edge" else self._split(scope["path"])
        try:
            if door == "port" and name not in _LOOPBACK:
                response: Response = PlainTextResponse(
                    f"The sandbox does not know the host {name[:100]!r}. Ask for localhost, or put a Google host name "
                    "first in the path.\n",
                    status_code=421,
                )
            else:
                receive, send = await self._fault(request, host, path, send)
                response = await self._answer(Request(scope, receive), host, path, told)
        except Refusal as refusal:
            response = JSONResponse(refusal.body(), refusal.http_status, dict(refusal.headers))
        except (ClientDisconnect, faults.Cut):
            return
        except Exception as error:
            if is_disk_full(error):
                log.warning("%s %s%s: the disk is full", request.method, host, redact(path))
            else:
                log.exception("%s %s%s failed", request.method, host, redact(path))
            failure = unexpected(error, registry=self._registry(request, host, path) is not None)
            response = JSONResponse(failure.body(), failure.http_status)
        if not path.startswith("/_sandbox/"):
            kept = self.controls.requests.add(
                time=timestamp(self.world.now()),
                door=door,
                verb=request.method,
                host=host,
                # Somebody may paste a token where a name belongs.
                path=redact(path),
                query=scope["query_string"].decode("latin-1"),
                status=response.status_code,
                method=told.method,
                principal=scope.get("sandbox.principal") or told.principal,
                body=told.body,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
            )
            log.info(
                "%s %s %s%s %s %s", kept.status, kept.verb, kept.host, kept.path, kept.principal, kept.milliseconds
            )
        with contextlib.suppress(faults.Cut):
            await response(scope, receive, send)

    async def _fault(self, request: Request, host: str, path: str, send: Send) -> tuple[Receive, Send]:
        """Return what the call goes on with, after the fault that waits for it, if one does."""
        if not self.controls.faults.waiting or path.startswith("/_sandbox/"):
            return request.receive, send
        address = self._registry(request, host, path)
        host, path = (address.host, address.path) if address else (host, path)
        found = next((api.find(request.method, path) for api in APIS if api.serves(host)), None)
        fault = self.controls.faults.take(host, path, request.method, found[0].id if found else "")
        if fault is None:
            return request.receive, send
        return await fault.strike(request.scope, request.receive, send, registry=address is not None)

    @staticmethod
    def _split(path: str) -> tuple[str, str]:
        """Return the plain port: a Google host name as the first part of the path, and the rest."""
        first, _, rest = path.removeprefix("/").partition("/")
        return (first, f"/{rest}") if is_google(first) else ("", path)

    async def _answer(self, request: Request, host: str, path: str, told: calls.Told) -> Response:
        if not host and path.startswith("/_sandbox/"):
            return await surface.answer(self.controls, request, path)
        if not host and path == "/":
            return front_page(request)
        if (address := self._registry(request, host, path)) is not None:
            response: Response = await oci.serve(request, self.world, address)
            return response
        if host.endswith(".run.app"):
            by_port = not is_google(request.headers["host"].partition(":")[0].lower())
            return await front.serve(self.world, request, host, path, by_port=by_port)
        api = next((api for api in APIS if api.serves(host)), None)
        if api is None:
            what = f"{request.method} {host}{path}" if host else f"{request.method} {path}"
            raise unimplemented(what)
        return await self._call(request, api, host, path, told)

    def _registry(self, request: Request, host: str, path: str) -> oci.Address | None:
        """Where a registry request is meant to go, in any of the three forms; None when it is not one."""
        if not path.startswith("/v2"):
            return None
        origin = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
        if not host:
            first, _, rest = path.removeprefix("/v2").lstrip("/").partition("/")
            if location := location_of(first):
                return oci.Address(host_of(location), f"/v2/{rest}", origin, f"{first}/")
            return oci.Address("", path, origin, "")
        if location := location_of(host):
            base = origin if is_google(request.headers["host"].partition(":")[0].lower()) else f"{origin}/{host}"
            return oci.Address(host_of(location), path, base, "")
        return None

    async def _call(self, request: Request, api: Api, host: str, path: str, told: calls.Told) -> Response:
        found = api.find(request.method, path)
        if found is None:
            raise unimplemented(f"{request.method} {path} of {api.service}")
        method, params = found
        told.method = method.id
        content = bytearray()
        known = method.open_to_all
        async for chunk in request.stream():
            content += chunk
            if not known and len(content) > _UNKNOWN_CALLERS:
                await asyncio.to_thread(calls.identify, self.world, request, api, told)
                known = True
            if len(content) > api.body_limit:
                raise ApiError(
                    "INVALID_ARGUMENT",
                    f"Request payload size exceeds the limit: {api.body_limit} bytes.",
                    http_status=413,
                )
        if not method.open_to_all:
            told.body = bytes(content[:65536])
        asked = calls.Asked(request, api, method, host, params, bytes(content))
        answer = await asyncio.to_thread(calls.make, self.world, asked, told)
        if isinstance(answer, Response):
            return answer
        return JSONResponse(dict(answer), headers=_HEADERS, media_type="application/json; charset=UTF-8")
