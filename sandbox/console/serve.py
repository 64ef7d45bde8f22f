"""Serve the console: sign-in, pages, and the form for the clock, protected against other web pages."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import jinja2
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response

from sandbox.admin import surface
from sandbox.admin.sessions import COOKIE, Session, remember
from sandbox.admin.surface import Controls
from sandbox.api.principal import Principal
from sandbox.console import views, visits
from sandbox.console.reader import Reader
from sandbox.doors import request_body
from sandbox.errors import Refusal
from sandbox.iam import standing

HOST: Final = "127.0.0.1"
_HERE: Final = Path(__file__).parent
_FILES: Final = {"console.css": "text/css", "live.js": "text/javascript"}
_FORM_BYTES: Final = 4096
# The path before `/console` in the browser, behind a Hub (docs/room.md).
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9][\w.~-]*)+", re.ASCII)
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _bytes(size: Any) -> str:
    """Return a size in Docker's units, which are powers of 1000."""
    value = float(size or 0)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    # Google leaves empty fields out.
    undefined=jinja2.ChainableUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["size"] = _bytes
# Parts of the API's names may be escaped.
_TEMPLATES.filters["unquote"] = unquote


@jinja2.pass_context
def _link(context: jinja2.runtime.Context, *segments: str) -> str:
    return visits.link(context["base"], *segments)


_TEMPLATES.globals["link"] = _link


class Console:
    """The console of one sandbox."""

    def __init__(self, controls: Controls) -> None:
        self.controls = controls
        self.sessions = controls.sessions

    async def answer(self, request: Request) -> Response:
        """Answer one request below `/console`."""
        if request.url.hostname != HOST:
            # Deployed services are served at localhost, and their pages must not have the console's origin.
            where = request.url.replace(hostname=HOST)
            return RedirectResponse(str(where), 307, dict(_HEADERS))
        prefix = request.headers.get("x-forwarded-prefix", "")
        if prefix and not _PREFIX.fullmatch(prefix):
            return PlainTextResponse("X-Forwarded-Prefix is no path.\n", 400)
        return await self._below(request, f"{prefix}/console")

    async def _below(self, request: Request, base: str) -> Response:
        """Answer one request. `base` is the path of `/console` in the browser."""
        path = request.scope["raw_path"].decode("latin-1").removeprefix("/console").rstrip("/")
        if path.removeprefix("/") in _FILES:
            name = path.removeprefix("/")
            return FileResponse(_HERE / "templates" / name, media_type=_FILES[name], headers=_HEADERS)
        if path == "/sign-in":
            return self._sign_in(request, base)
        session = self.sessions.of(request)
        if session is None or not self._is_active(session):
            return self._page("signed_out", 401, base, None, {}, {})
        if request.method == "POST":
            return await self._change(request, base, session, path)
        if request.method not in ("GET", "HEAD"):
            return self._refused(405, base, session, "The console reads with GET and changes with its forms.")
        for page in views.PAGES:
            if (params := page.match(path)) is not None:
                return await asyncio.to_thread(self.read, page, params, dict(request.query_params), session, base)
        return self._refused(404, base, session, "The console has no such page.")

    def _is_active(self, session: Session) -> bool:
        with self.controls.world.reading() as rows:
            return standing.is_active(rows, session.member)

    def _sign_in(self, request: Request, base: str) -> Response:
        value = self.sessions.sign_in(request.query_params.get("code", ""))
        if value is None:
            return self._page("signed_out", 401, base, None, {}, {})
        to = request.query_params.get("to", "")
        known = any(page.match(to) is not None for page in views.PAGES)
        answer = RedirectResponse(base + to if known else base, 303, dict(_HEADERS))
        remember(answer, value, base)
        return answer

    def read(
        self,
        page: views.Page,
        params: dict[str, str],
        query: dict[str, str],
        session: Session,
        base: str = "/console",
    ) -> Response:
        """Return a page, or a page with the refusal."""
        reader = Reader(self.controls.world, Principal(session.member))
        visit = visits.Visit(self.controls, reader, params, query)
        try:
            values = page.values(visit)
        except Refusal as refusal:
            return self._refused(refusal.http_status, base, session, str(refusal), params)
        return self._page(page.template, 200, base, session, params, values)

    async def _change(self, request: Request, base: str, session: Session, path: str) -> Response:
        form = await _form(request)
        if form is None or not session.sent(form.get("form_token", "")):
            return self._refused(403, base, session, "This form was not written by the console. Load the page again.")
        if path == "/sign-out":
            self.sessions.sign_out(request)
            answer = RedirectResponse(base, 303, dict(_HEADERS))
            answer.delete_cookie(COOKIE, path=base)
            return answer
        if path != "/clock":
            return self._refused(404, base, session, "The console has no such form.")
        try:
            days = float(form.get("days", ""))
            if not math.isfinite(days) or not 0 < days <= 3650:
                raise ValueError(days)
        except ValueError:
            return self._refused(400, base, session, "Days are a number above 0, at most 3650.")
        try:
            await surface.travel(self.controls, dt.timedelta(days=days))
        except Refusal as refusal:
            return self._refused(refusal.http_status, base, session, str(refusal))
        return RedirectResponse(f"{base}/clock", 303, dict(_HEADERS))

    def _refused(
        self, status: int, base: str, session: Session, said: str, params: dict[str, str] | None = None
    ) -> Response:
        return self._page("refused", status, base, session, params or {}, {"status": status, "said": said})

    def _page(
        self,
        template: str,
        status: int,
        base: str,
        session: Session | None,
        params: dict[str, str],
        values: dict[str, Any],
    ) -> Response:
        given = {"base": base, "live": False, "session": session, "params": params, "trail": views.trail(base, params)}
        shown = given | values
        return HTMLResponse(_TEMPLATES.get_template(f"{template}.html").render(shown), status, dict(_HEADERS))


async def _form(request: Request) -> dict[str, str] | None:
    """Return a form's fields, or None if it is too large or of another type."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        return None
    try:
        return request_body.form(await request_body.read(request, _FORM_BYTES))
    except request_body.BodyTooLarge:
        return None
