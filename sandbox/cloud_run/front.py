"""Forward requests to deployed services: check the caller, choose a revision, set the headers that Google sets.

`http://localhost:PORT/NAME-NUMBER.REGION.run.app/path` and, through the edge, `https://NAME-NUMBER.REGION.run.app/path`.
Source: https://cloud.google.com/run/docs/authenticating/overview, …/known-issues (reserved paths).
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import re
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from sandbox.cloud_run import instances, store
from sandbox.cloud_run.secret_env import SecretRefused
from sandbox.containers import EngineFailed
from sandbox.doors import request_body
from sandbox.doors.pages import page
from sandbox.iam import policies, standing
from sandbox.iam.keys import id_token_public_key
from sandbox.state import projects
from sandbox.state.world import World

_HOST = re.compile(
    r"(?:(?P<tag>[a-z0-9-]+)---)?(?P<service>[a-z0-9-]+)-(?P<number>\d+)\.(?P<region>[a-z0-9-]+)\.run\.app"
)
_PIECE = 64 * 1024  # bytes
_BODY_LIMIT = 32 * 1024 * 1024  # bytes; https://cloud.google.com/run/quotas
_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "host", "content-length",
}  # fmt: skip
# gcloud's own client, the audience of its identity tokens without --audiences.
_GCLOUD_AUDIENCE = "32555940559.apps.googleusercontent.com"
_INVOKE = "run.routes.invoke"
_threads = ThreadPoolExecutor(32, thread_name_prefix="front")


_PAGE = """<html><head>
<meta http-equiv="content-type" content="text/html;charset=utf-8">
<title>{{ status }} {{ title }}</title>
</head>
<body text=#000000 bgcolor=#ffffff>
<h1>Error: {{ title }}</h1>
<h2>{{ before }}{% if path %} <code>{{ path }}</code>{% endif %}{{ after }}</h2>
<h2></h2>
</body></html>
"""


def _page(status: int, title: str, before: str, path: str = "", after: str = "") -> Response:
    """Return an error page of Google's front end, whose sentence has the requested path in its middle."""
    return page(_PAGE, status, title=title, before=before, path=path, after=after)


def _forbidden(path: str) -> Response:
    before = "Your client does not have permission to get URL"
    return _page(403, "Forbidden", before, path, " from this server.")


async def serve(world: World, request: Request, host: str, path: str, *, by_port: bool) -> Response:
    """Answer one request to a service.

    Args:
        host: the service's Google name.
        path: the decoded path, without that name.
        by_port: whether the request used the plain port, where the name is the first part of the path.
    """
    try:
        content = await request_body.read(request, _BODY_LIMIT)
    except request_body.BodyTooLarge:
        return _page(413, "Request Entity Too Large", "Your client issued a request that was too large.")
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, _serve, world, request, host, path, content, by_port)


def _serve(world: World, request: Request, host: str, path: str, content: bytes, by_port: bool) -> Response:
    match = _HOST.fullmatch(host)
    project = projects.find(world, match["number"]) if match else None
    name = store.resource(project.id, match["region"], match["service"]) if match and project else ""
    service = store.find(world, name) if name else None
    if match is None or project is None or service is None:
        return _page(404, "Page not found", "The requested URL was not found on this server.")
    # Google's front end reserves some paths that end in z. They never reach the container.
    if path.rstrip("/").endswith("z") and re.fullmatch(r"/(?:\w+/)*[a-z]+z/?", path):
        return _page(404, "Page not found", "The requested URL", path, " was not found on this server.")
    url = store.url(world, match["service"], project.number, match["region"])
    refusal = _refused(world, request, name, path, (url, f"https://{host}"))
    if refusal is not None:
        return refusal
    full = store.revision_name(name, _choose(service, match["tag"] or ""))
    found = store.find_revision(world, full)
    if found is None:
        return PlainTextResponse("Service Unavailable", 503)
    prefix = f"/{host}" if by_port else ""
    try:
        with contextlib.ExitStack() as until_sent:
            instance = until_sent.enter_context(world.part(instances.Instances).use(full, found))
            answer = _forward(instance.connection, request, host, path, content, prefix, found["spec"])
            if isinstance(answer, _Streamed):
                # The instance is in use until its last byte is sent.
                answer.until_sent = until_sent.pop_all()
            return answer
    except (instances.NotStarted, SecretRefused, EngineFailed, OSError):
        return PlainTextResponse("Service Unavailable", 503)


def _refused(world: World, request: Request, name: str, path: str, audiences: tuple[str, ...]) -> Response | None:
    if policies.decide(world, "", _INVOKE, name).allowed:
        return None
    header = request.headers.get("x-serverless-authorization") or request.headers.get("authorization", "")
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token:
        return _forbidden(path)
    try:
        claims = jwt.decode(
            token,
            id_token_public_key(world),
            algorithms=["RS256"],
            leeway=30,
            audience=[*audiences, _GCLOUD_AUDIENCE],
            issuer="https://accounts.google.com",
        )
        with world.reading() as rows:
            if not standing.is_same(rows, str(claims.get("email", "")), str(claims.get("sub", ""))):
                raise jwt.InvalidTokenError("the account of the token is disabled or deleted")
    except jwt.InvalidTokenError as error:
        answer = _page(401, "Unauthorized", "Your client does not have permission to the requested URL", path, ".")
        answer.headers["WWW-Authenticate"] = (
            'Bearer error="invalid_token" error_description="The access token could not be verified"'
        )
        answer.headers["X-Workbook-Reason"] = re.sub(r"[^ -~]", " ", str(error))[:200]
        return answer
    if policies.decide(world, f"serviceAccount:{claims.get('email', '')}", _INVOKE, name).allowed:
        return None
    return _forbidden(path)


def _choose(service: dict[str, Any], tag: str) -> str:
    """Return the revision of a tag, or a random one by the traffic's percentages. Return "" if there is none."""
    traffic = service["status"].get("traffic", ())
    if tag:
        return next((str(entry["revisionName"]) for entry in traffic if entry.get("tag") == tag), "")
    draw = random.uniform(0, 100)  # noqa: S311 - a share of traffic, no secret
    for entry in traffic:
        draw -= entry.get("percent", 0)
        if draw <= 0 and entry.get("percent", 0):
            return str(entry["revisionName"])
    return ""


def _forward(
    opened: socket.socket,
    request: Request,
    host: str,
    path: str,
    content: bytes,
    prefix: str,
    spec: dict[str, Any],
) -> Response:
    raw = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    target = raw.removeprefix(prefix) if raw else path
    if request.url.query:
        target = f"{target or '/'}?{request.url.query}"
    client = request.client.host if request.client else "127.0.0.1"
    headers = [(key, value) for key, value in request.headers.items() if key.lower() not in _HOP]
    headers = [(key, _unsigned(value) if key == "authorization" else value) for key, value in headers]
    trace = f"{secrets.token_hex(16)}/{secrets.randbits(63)}"
    headers += [
        ("Host", host),
        ("X-Forwarded-For", client),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", f'for="{client}";proto=https'),
        ("X-Cloud-Trace-Context", f"{trace};o=1"),
        ("Content-Length", str(len(content))),
    ]
    if prefix:
        headers.append(("X-Forwarded-Prefix", prefix))
    limit = float(spec.get("timeoutSeconds", 300))
    opened.settimeout(limit)
    connection = http.client.HTTPConnection("instance")
    connection.sock = opened
    started = time.monotonic()
    try:
        connection.putrequest(request.method, target or "/", skip_host=True, skip_accept_encoding=True)
        for key, value in headers:
            connection.putheader(key, value)
        connection.endheaders(content or None)
        answer = connection.getresponse()
    except TimeoutError:
        connection.close()
        return PlainTextResponse("upstream request timeout", 504)
    except (OSError, http.client.HTTPException):
        connection.close()
        late = time.monotonic() - started >= limit
        return PlainTextResponse("upstream request timeout" if late else "Service Unavailable", 504 if late else 503)
    response = _Streamed(answer, connection, started + limit, bare=request.method == "HEAD")
    for key, value in answer.getheaders():
        if key.lower() not in _HOP - {"content-length"}:
            response.headers.append(
                key, _rewrite_location(value, host, prefix, request) if key.lower() == "location" else value
            )
    response.headers["Server"] = "Google Frontend"
    return response


class _Streamed(Response):
    """A container's answer, sent piece by piece so that only one piece is in memory.

    Attributes:
        until_sent: closed when the last piece is sent, or the client has hung up.
    """

    def __init__(
        self, answer: http.client.HTTPResponse, connection: http.client.HTTPConnection, deadline: float, *, bare: bool
    ) -> None:
        super().__init__(None, answer.status)
        del self.headers["content-length"]
        self.until_sent = contextlib.ExitStack()
        self._answer, self._connection, self._deadline, self._bare = answer, connection, deadline, bare

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. End the connection if the container breaks off or exceeds the service's timeout."""
        loop = asyncio.get_running_loop()
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while not self._bare and (piece := await loop.run_in_executor(_threads, self._read)):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await loop.run_in_executor(_threads, self._close)

    def _read(self) -> bytes:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the service took longer than its timeoutSeconds")
        if self._connection.sock:
            self._connection.sock.settimeout(left)
        return self._answer.read1(_PIECE)

    def _close(self) -> None:
        self._answer.close()
        self._connection.close()
        self.until_sent.close()


def _unsigned(header: str) -> str:
    # The container can identify the caller, but cannot use the token elsewhere.
    kind, _, token = header.partition(" ")
    parts = token.split(".")
    return f"{kind} {parts[0]}.{parts[1]}.SIGNATURE_REMOVED_BY_GOOGLE" if len(parts) == 3 else header


def _rewrite_location(location: str, host: str, prefix: str, request: Request) -> str:
    """Rewrite a redirect so that it stays on the address that the client used."""
    if not prefix or location.startswith((f"{prefix}/", "//")):
        return location
    if location.startswith("/"):
        return f"{prefix}{location}"
    for scheme in ("https", "http"):
        if location.startswith(f"{scheme}://{host}"):
            rest = location.removeprefix(f"{scheme}://{host}")
            return f"http://{request.headers['host']}{prefix}{rest}"
    return location
