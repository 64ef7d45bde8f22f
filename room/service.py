"""The lead's page: a service of the Hub that shows the room and carries out the lead's actions."""

from __future__ import annotations

import asyncio
import datetime as dt
import dbm
import math
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jinja2
import requests
from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated
from tornado import web

from cli.world import starter
from helpers.cell import documents
from helpers.target import ROOT
from room import board, looks, overview, places

_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# The faults that the lead may cause: the name on the button, and a call of the sandbox's admin surface.
FAULTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "tokens expire": ("tokens:expire", {}),
    "the next push is refused with 503": (
        "faults",
        {"host": "*docker.pkg.dev", "verb": "P*", "status": 503, "times": 1},
    ),
    "the next API call takes 10 s": ("faults", {"host": "*googleapis.com", "delay_seconds": 10, "times": 1}),
}
_DAYS: Final = 365


class Refused(Exception):
    """An action of the lead is impossible; the message says why."""


def homes() -> dict[str, Path]:
    """Return the home of every learner in the class list."""
    return {name: places.home(name) for name in places.learners()}


class Page(HubOAuthenticated, web.RequestHandler):  # type: ignore[misc]
    """The base of all handlers: only for the lead, and with a policy against foreign scripts."""

    def set_default_headers(self) -> None:
        """Keep the page out of frames and caches."""
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        """Refuse everybody except the lead."""
        super().prepare()
        user = self.get_current_user()
        if user is not None and user.get("name") != places.lead():
            raise web.HTTPError(403, reason="This page is the lead's.")


class Room(Page):
    """The table of the room with the forms below it."""

    @web.authenticated
    async def get(self) -> None:
        """Show the room; the table reloads every five seconds, without the forms that the lead may be filling in."""
        opened = await asyncio.to_thread(servers)
        people = await asyncio.to_thread(overview.room, homes(), opened, dt.datetime.now(dt.UTC))
        self.write(
            _TEMPLATES.get_template("room.html").render(
                people=people,
                looks={name: board.may_look(home, dt.datetime.now(dt.UTC)) for name, home in homes().items()},
                now=dt.datetime.now(dt.UTC),
                faults=FAULTS,
                notebooks=[path.stem for path in documents.notebooks()],
                exercises=sum(documents.exercises(path) for path in documents.notebooks()),
                said=self.get_query_argument("said", ""),
                xsrf=self.xsrf_form_html(),
            )
        )

    @web.authenticated
    async def post(self) -> None:
        """Carry out a form's action for one learner or for all, and show the room again with the result."""
        action, who = self.get_body_argument("action"), self.get_body_argument("who", "")
        try:
            aims = {who: homes()[who]} if who else homes()
        except KeyError:
            raise web.HTTPError(400, reason="Nobody of that name is in the class list.") from None
        try:
            what = self.get_body_argument("what", "")
            if action == "message":
                result = _message(aims, what, self.get_body_argument("notebook", ""))
            else:
                result = await asyncio.to_thread(_ACTIONS[action], aims, what)
        except KeyError:
            raise web.HTTPError(400, reason="There is no such action.") from None
        except Refused as reason:
            result = str(reason)
        self.redirect(f"{self.request.path}?{urlencode({'said': result})}", status=303)


class Live(Page):
    """The script that reloads the table, which the console uses too."""

    @web.authenticated
    async def get(self) -> None:
        """Send the script."""
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.write((ROOT / "sandbox" / "console" / "templates" / "live.js").read_bytes())


class Look(Page):
    """A learner's saved notebooks, as long as the learner lets the lead look."""

    @web.authenticated
    async def get(self, name: str, notebook: str) -> None:
        """Show one notebook, or the list of them."""
        home = homes().get(name)
        if home is None or not board.may_look(home, dt.datetime.now(dt.UTC)):
            raise web.HTTPError(403, reason="Without the learner's leave nobody looks at their notebooks.")
        folder = home / "lab" / "notebooks"
        names = sorted(path.stem for path in folder.glob("*.ipynb") if path.is_file())
        if not notebook:
            self.write(_TEMPLATES.get_template("look.html").render(name=name, notebooks=names))
        elif notebook in names:
            page = await asyncio.to_thread(looks.page, folder / f"{notebook}.ipynb")
            # A learner's page runs no script here, and has an origin of its own.
            self.set_header("Content-Security-Policy", looks.POLICY)
            self.write(page)
        else:
            raise web.HTTPError(404)


class Results(Page):
    """The results of the whole room."""

    @web.authenticated
    async def get(self) -> None:
        """Send a CSV file for a spreadsheet."""
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", "attachment; filename=room.csv")
        self.write(await asyncio.to_thread(overview.as_csv, homes()))


def _hub(method: str, path: str) -> Any:
    with requests.Session() as session:
        # The Hub is on this machine, so no proxy is used.
        session.trust_env = False
        answer = session.request(
            method,
            f"{os.environ['JUPYTERHUB_API_URL']}/{path}",
            headers={"Authorization": f"token {os.environ['JUPYTERHUB_API_TOKEN']}"},
            timeout=60,
        )
    answer.raise_for_status()
    return answer.json() if answer.content else None


def servers() -> list[str]:
    """Return the users whose server runs, according to the Hub."""
    return [user["name"] for user in _hub("GET", "users?state=ready&limit=200")]


def _each(aims: dict[str, Path], call: Callable[[starter.World], object]) -> str:
    done = []
    for name, home in aims.items():
        world = starter.status(home).world
        if world is None:
            continue
        try:
            call(world)
        except (requests.RequestException, starter.WorldError) as error:
            raise Refused(f"{name}: {error}") from None
        done.append(name)
    return f"Done for {', '.join(done)}." if done else "Nobody's sandbox runs."


def _fault(aims: dict[str, Path], what: str) -> str:
    if what not in FAULTS:
        raise Refused("There is no such fault.")
    path, body = FAULTS[what]
    return _each(aims, lambda world: world.admin(path, body))


def _travel(aims: dict[str, Path], what: str) -> str:
    try:
        days = float(what)
    except ValueError:
        days = math.nan
    if not 0 < days <= _DAYS:
        raise Refused(f"Days are a number above 0, at most {_DAYS}.")
    return _each(aims, lambda world: world.admin("clock:advance", {"seconds": days * 86400}))


def _reset(aims: dict[str, Path], what: str) -> str:
    if len(aims) != 1:
        raise Refused("One learner at a time is reset.")
    numbers = {path.stem: path.name[:2] for path in documents.notebooks()}
    if what not in numbers:
        raise Refused("There is no such notebook.")
    [(name, home)] = aims.items()
    command = [sys.executable, "-m", "cli.main", "reset", "--home", str(home), "--notebook", numbers[what]]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    if ran.returncode != 0:
        raise Refused(f"{name} could not be reset: {ran.stderr.strip()[-500:]}")
    return f"{name} begins {what} anew. An open notebook has to be loaded again."


def _message(aims: dict[str, Path], what: str, notebook: str = "") -> str:
    text = " ".join(what.split())
    if len(text) > board.LONGEST:
        raise Refused(f"A message has at most {board.LONGEST} characters.")
    if notebook not in ("", *(path.stem for path in documents.notebooks())):
        raise Refused("There is no such notebook.")
    if notebook and not text:
        text = f"Please open {notebook}."
    for home in aims.values():
        board.post(home, text, notebook)
    return f"Shown to {', '.join(aims)}." if text else "The message is taken away."


def _ask(aims: dict[str, Path], what: str) -> str:
    for home in aims.values():
        board.ask(home)
    return f"Asked {', '.join(aims)}. A link to the notebooks comes with the leave, which holds for an hour."


def _forget(aims: dict[str, Path], what: str) -> str:
    if len(aims) != 1:
        raise Refused("One learner at a time gets a new password.")
    [name] = aims
    with dbm.open(str(places.folder() / "passwords"), "c", 0o600) as known:
        known.pop(name, None)
    return f"The next password that {name} signs in with is theirs."


def _end(aims: dict[str, Path], what: str) -> str:
    for name in servers():
        if name in aims:
            _hub("DELETE", f"users/{name}/server")
    for home in aims.values():
        starter.stop(home)
    return "The servers and sandboxes have stopped; what everybody did is kept."


_ACTIONS: Final = {"fault": _fault, "travel": _travel, "reset": _reset, "end": _end, "ask": _ask, "forget": _forget}


async def main() -> None:
    """Serve until the Hub stops it."""
    prefix = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
    place = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    application = web.Application(
        [
            (prefix, Room),
            (f"{prefix}live.js", Live),
            (f"{prefix}results.csv", Results),
            (f"{prefix}look/([a-z0-9-]+)/([\\w.-]*)", Look),
            (f"{prefix}oauth_callback", HubOAuthCallbackHandler),
        ],
        cookie_secret=secrets.token_bytes(32),
        xsrf_cookies=True,
    )
    application.listen(place.port or 0, place.hostname or "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
