"""A head whose body is still to come is acknowledged at once, since clients behind a proxy wait for that."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from sandbox.doors.connection import Connection

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"


class _Wire(asyncio.Transport):
    """A transport that keeps what its socket is told; it is its own socket."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self, "sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)}.get(name, default)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 2

    def setsockopt(self, *option: Any) -> None:
        self.told.append(option)

    def write(self, data: Any) -> None:
        """What is answered does not matter here."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _told(*pieces: bytes) -> list[tuple[Any, ...]]:
    config = Config(_answer)
    config.load()
    connection = Connection(config, ServerState(), {}, asyncio.get_running_loop())
    wire = _Wire()
    connection.connection_made(wire)
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    return wire.told


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux acknowledges at once when it is told to")
@pytest.mark.parametrize(
    ("pieces", "times"),
    [
        ((HEAD, b"{}"), 1),
        ((HEAD, b"{", b"}"), 1),
        ((HEAD[:20], HEAD[20:], b"{}"), 1),
        ((HEAD + b"{}",), 0),
        ((HEAD, b"{}", HEAD, b"{}"), 2),
    ],
    ids=["head and body", "body in pieces", "head in pieces", "at once", "two requests"],
)
def test_a_body_that_is_held_back_is_asked_for(pieces: tuple[bytes, ...], times: int) -> None:
    told = asyncio.run(_told(*pieces))
    assert told.count((socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)) == times
