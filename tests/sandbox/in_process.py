"""A client of the sandbox's application in this process: for status codes and texts, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sandbox import seed
from sandbox.app import Sandbox
from sandbox.iam import tokens
from sandbox.state.clock import Clock
from sandbox.state.world import World

PROJECT = "ml-in-process"


class _Transport(httpx.BaseTransport):
    """httpx's transport of ASGI applications, for its client without `await`."""

    def __init__(self, application: Sandbox) -> None:
        self._loop = asyncio.Runner()
        self._asgi = httpx.ASGITransport(app=application)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the application's answer, as a server would have sent it."""
        return self._loop.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        found = await self._asgi.handle_async_request(request)
        assert isinstance(found.stream, httpx.AsyncByteStream)
        content = b"".join([part async for part in found.stream])
        return httpx.Response(found.status_code, headers=found.headers, content=content)

    def close(self) -> None:
        """End the loop."""
        self._loop.close()


@contextmanager
def client(world: World, admin_token: str, base_url: str = "http://127.0.0.1:5001") -> Iterator[Session]:
    """Open a client of an application of its own; `base_url` is what a browser has in its address bar."""
    with Session(transport=_Transport(Sandbox(world, admin_token)), base_url=base_url, follow_redirects=True) as opened:
        yield opened


class Session(httpx.Client):
    """What `requests.Session` is to a sandbox behind a socket: it takes bytes as `data`."""

    def request(self, method: str, url: httpx.URL | str, **more: Any) -> httpx.Response:  # type: ignore[override]
        """Send a request."""
        if isinstance(more.get("data"), bytes | str):
            more["content"] = more.pop("data")
        return super().request(method, url, **more)


class Learner:
    """The learner, signed in to a new world.

    Attributes:
        session: for whatever `ask` doesn't say.
    """

    def __init__(self, session: Session, world: World, project: str) -> None:
        self.session = session
        self.world = world
        self.project = project

    def ask(self, verb: str, url: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        """Return the JSON of one call, which must be answered with `status`; fills in `{project}`."""
        answer = self.session.request(verb, url.format(project=self.project), json=body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def enable(self, *services: str) -> None:
        """Enable APIs in the project."""
        url = "https://serviceusage.googleapis.com/v1/projects/{project}/services:batchEnable"
        self.ask("POST", url, {"serviceIds": services})


@contextmanager
def signed_in(home: Path) -> Iterator[Learner]:
    """Make a world in a folder, and sign its learner in."""
    world = World(home / "state", Clock())
    try:
        about = seed.prepare(world, home, PROJECT, "us-central1")
        token = tokens.mint(world, f"serviceAccount:{about['learner']}")
        with client(world, "admin") as opened:
            opened.headers["Authorization"] = f"Bearer {token}"
            yield Learner(opened, world, PROJECT)
    finally:
        world.close()
