"""A client of the sandbox's application in this process: for status codes and texts, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from sandbox.app import Sandbox
from sandbox.state.world import World


class Client:
    """What `httpx.Client` is, for an application; it keeps cookies and follows redirects.

    Args:
        base_url: what a browser has in its address bar, `http://127.0.0.1:5001`.
    """

    def __init__(self, loop: asyncio.Runner, application: Sandbox, base_url: str) -> None:
        self._loop = loop
        transport = httpx.ASGITransport(app=application)
        self._client = httpx.AsyncClient(transport=transport, base_url=base_url, follow_redirects=True)

    @property
    def cookies(self) -> httpx.Cookies:
        """The cookies of all hosts."""
        return self._client.cookies

    def get(self, url: str, **more: Any) -> httpx.Response:
        """Send a GET."""
        return self._loop.run(self._client.get(url, **more))

    def post(self, url: str, **more: Any) -> httpx.Response:
        """Send a POST."""
        return self._loop.run(self._client.post(url, **more))


@contextmanager
def client(world: World, admin_token: str, base_url: str = "http://127.0.0.1:5001") -> Iterator[Client]:
    """Open a client of an application of its own."""
    with asyncio.Runner() as loop:
        yield Client(loop, Sandbox(world, admin_token), base_url)
