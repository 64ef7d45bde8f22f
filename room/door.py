"""Serve a learner's own sandbox, its console and their services, at the address of their Jupyter server.

    /user/NAME/workbook/console/...        the console, for a user whom the Hub has signed in
    /user/NAME/workbook/board              the lead's message, and the learner's leave to look at notebooks
    /user/NAME/workbook/HOST.run.app/...   redirects to the service's own address below
    /user/NAME/workbook/KEY/HOST.run.app/  the service, for everybody who has the key

A service is an untrusted program. At the Hub's address, its pages would have JupyterLab's origin and could open a
terminal. So each page is sent with a policy that gives it an origin of its own. Such a page has no cookies: instead of
the Hub's cookie there is the key, a new one at each start of the server, and the service's cookies are kept here.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import hmac
import html
import os
import re
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado import httpclient, web

from helpers import target
from helpers.target import SandboxInfo
from room import board

PLACE: Final = "workbook"
_COOKIE: Final = "workbook_console"
# RFC 6265, section 6.1: a browser keeps at least these for one host.
_COOKIES, _COOKIE_BYTES = 50, 4096
_SERVICE: Final = r"[a-z0-9-]+\.[a-z0-9-]+\.run\.app"
# Seconds; the default limit of a request to a service is 300.
_PATIENCE: Final = 320
_CONTENT: Final = ("Accept", "Accept-Language", "Authorization", "Content-Type", "If-Modified-Since", "If-None-Match")
_HOP: Final = frozenset({"connection", "content-length", "keep-alive", "set-cookie", "transfer-encoding", "upgrade"})
_ALONE: Final = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"
_NO_SANDBOX: Final = "The sandbox doesn't answer. Restart your server: File, Hub Control Panel, Stop My Server."


async def _ask(request: Any, host: str, path: str, more: dict[str, str]) -> httpclient.HTTPResponse:
    """Pass a request on to the sandbox's plain port.

    Args:
        host: `localhost` or `127.0.0.1`: the sandbox distinguishes them.
        path: as it was sent, with its query.

    Raises:
        web.HTTPError: 502 if the sandbox doesn't run.
    """
    try:
        port = SandboxInfo.read(Path(os.environ["WORKBOOK_HOME"]) / "sandbox.json").port
        kept = {name: request.headers[name] for name in _CONTENT if name in request.headers}
        passed_on = httpclient.HTTPRequest(
            f"http://127.0.0.1:{port}{path}",
            method=request.method,
            headers=kept | more | {"Host": f"{host}:{port}"},
            body=request.body or None,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            decompress_response=False,
            request_timeout=_PATIENCE,
        )
        return await httpclient.AsyncHTTPClient().fetch(passed_on, raise_error=False)
    except (OSError, ValueError, httpclient.HTTPError) as error:
        raise web.HTTPError(502, str(error), reason=_NO_SANDBOX) from None


def _give(handler: web.RequestHandler, answer: httpclient.HTTPResponse) -> None:
    """Answer with the sandbox's answer, except for its cookies."""
    if answer.code == 599:
        raise web.HTTPError(502, reason=_NO_SANDBOX)
    handler.set_status(answer.code, answer.reason)
    headers = [(name, value) for name, value in answer.headers.get_all() if name.lower() not in _HOP]
    for name in {name for name, _ in headers}:
        handler.clear_header(name)
    for name, value in headers:
        handler.add_header(name, value)
    if answer.code not in (204, 304):
        handler.write(answer.body or b"")


class ConsolePage(JupyterHandler):
    """The console, below its path on the learner's server."""

    def check_xsrf_cookie(self) -> None:
        """Leave the check to the console, whose forms have a token of their own."""

    @web.authenticated
    async def get(self) -> None:
        """Pass on a page; sign in a browser without the console's cookie, since the Hub knows the user."""
        answer = await self._pass_on()
        if answer.code != 401:
            self._give(answer)
            return
        home = Path(os.environ["WORKBOOK_HOME"])
        member = f"serviceAccount:{SandboxInfo.read(home / 'sandbox.json').learner}"
        made = await asyncio.to_thread(target.admin, "console:signIn", {"member": member})
        if made is None:
            raise web.HTTPError(404, reason="On Google the console is Google's.")
        to = self.request.path.partition(f"/{PLACE}/console")[2]
        link = f"{self._base}/console/sign-in?code={quote(made['code'])}&to={quote(to, safe='')}"
        # Not a redirect: the cookie is only for this site, and after a link from another site a redirect counts as its.
        self.set_header("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")
        escaped = html.escape(link, quote=True)
        self.write(
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sandbox console</title>'
            f'<meta http-equiv="refresh" content="0; url={escaped}"><p><a href="{escaped}">Sandbox console</a></html>'
        )

    @web.authenticated
    async def post(self) -> None:
        """Pass on one of the console's forms."""
        self._give(await self._pass_on())

    @property
    def _base(self) -> str:
        return f"{self.base_url}{PLACE}"

    async def _pass_on(self) -> httpclient.HTTPResponse:
        path = self.request.uri.removeprefix(self._base)
        more = {"X-Forwarded-Prefix": self._base}
        if value := self.get_cookie(_COOKIE):
            more["Cookie"] = f"{_COOKIE}={value}"
        return await _ask(self.request, "127.0.0.1", path, more)

    def _give(self, answer: httpclient.HTTPResponse) -> None:
        _give(self, answer)
        for cookie in answer.headers.get_list("Set-Cookie"):
            with_path = _of_console(cookie, f"{self._base}/console")
            if with_path:
                self.add_header("Set-Cookie", with_path)


@dataclasses.dataclass
class Jar:
    """The cookies of one service, for everybody who has the key, since its pages can't keep any."""

    held: dict[str, str] = dataclasses.field(default_factory=dict)

    def take(self, headers: Iterable[str]) -> None:
        """Apply the cookies of a service's answer: keep new ones, drop expired ones, and ignore invalid ones."""
        for header in headers:
            with contextlib.suppress(CookieError):
                for name, cookie in SimpleCookie(header).items():
                    self.held.pop(name, None)
                    if cookie["max-age"] != "0" and len(header) <= _COOKIE_BYTES:
                        self.held[name] = cookie.coded_value
        while len(self.held) > _COOKIES:
            del self.held[next(iter(self.held))]

    def header(self) -> dict[str, str]:
        """Return the header that sends the cookies back."""
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.held.items())} if self.held else {}


def _of_console(cookie: str, path: str) -> str:
    """Return a cookie if it is the console's and for its own pages, otherwise "". Pure."""
    try:
        found = SimpleCookie(cookie).get(_COOKIE)
    except CookieError:
        return ""
    return cookie if found is not None and found["path"] == path else ""


class BoardFile(JupyterHandler):
    """The script that shows the board in JupyterLab's pages."""

    @web.authenticated
    async def get(self) -> None:
        """Send the script."""
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.write((Path(__file__).parent / "board.js").read_bytes())


class BoardPlace(APIHandler):
    """The board of this server's learner."""

    @web.authenticated
    async def get(self) -> None:
        """Send the lead's message, and whether they ask to look at the notebooks or may look."""
        home = Path(os.environ["WORKBOOK_HOME"])
        found = board.read(home)
        looks = board.may_look(home, dt.datetime.now(dt.UTC))
        shown = {"number": found.number, "text": found.text, "notebook": found.notebook, "asks": found.asks}
        self.finish(shown | {"looks": looks})

    @web.authenticated
    async def post(self) -> None:
        """Take the learner's answer; because of Jupyter's own token, no other page can send it."""
        body = self.get_json_body()
        if not isinstance(body, dict) or not isinstance(body.get("yes"), bool):
            raise web.HTTPError(400, reason="The body is {yes: true} or {yes: false}.")
        board.answer(Path(os.environ["WORKBOOK_HOME"]), dt.datetime.now(dt.UTC), yes=body["yes"])
        self.set_status(204)
        self.finish()


class ToService(JupyterHandler):
    """The address of a service in the notebooks, which contains no secret."""

    @web.authenticated
    async def get(self, _host: str, rest: str | None) -> None:
        """Redirect to the service's address with the key."""
        base = f"{self.base_url}{PLACE}"
        path, mark, query = self.request.uri.removeprefix(base).partition("?")
        self.set_header("Referrer-Policy", "no-referrer")
        self.redirect(f"{base}/{self.settings['workbook_key']}{path}{'' if rest else '/'}{mark}{query}")


class Service(web.RequestHandler):
    """A service, for everybody who has the key; its pages have an origin of their own."""

    def check_xsrf_cookie(self) -> None:
        """Leave the check to the service: a request has no rights from the Hub here."""

    @allow_unauthenticated
    async def get(self, key: str, host: str, _rest: str) -> None:
        """Pass a request on."""
        if not hmac.compare_digest(key.encode(), self.settings["workbook_key"].encode()):
            raise web.HTTPError(404)
        opaque = self.request.headers.get("Origin") == "null"
        if opaque and self.request.method == "OPTIONS" and "Access-Control-Request-Method" in self.request.headers:
            # The preflight request of a page to its own service.
            self._open()
            self.set_status(204)
            return
        before = f"{self.settings['base_url']}{PLACE}/{key}"
        jar: Jar = self.settings["workbook_jars"][host]
        answer = await _ask(self.request, "localhost", self.request.uri.removeprefix(before), jar.header())
        jar.take(answer.headers.get_list("Set-Cookie"))
        _give(self, answer)
        self.add_header("Content-Security-Policy", _ALONE)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")
        if (to := self._headers.get("Location", "")).startswith(f"/{host}"):
            self.set_header("Location", before + to)
        if opaque:
            self._open()

    head = post = put = patch = delete = options = get

    def _open(self) -> None:
        self.set_header("Access-Control-Allow-Origin", "null")
        self.set_header("Access-Control-Allow-Methods", "DELETE, GET, HEAD, PATCH, POST, PUT")
        self.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Add the door to a Jupyter server, which calls this function."""
    application = server.web_app
    application.settings["workbook_jars"] = collections.defaultdict(Jar)
    application.settings["workbook_key"] = secrets.token_urlsafe(18)
    before = re.escape(f"{application.settings['base_url']}{PLACE}/")
    application.add_handlers(
        ".*$",
        [
            (rf"{before}console(?:/.*)?", ConsolePage),
            (rf"{before}board", BoardPlace),
            (rf"{before}board\.js", BoardFile),
            (rf"{before}({_SERVICE})(/.*)?", ToService),
            (rf"{before}([\w-]+)/({_SERVICE})(/.*)?", Service),
        ],
    )
