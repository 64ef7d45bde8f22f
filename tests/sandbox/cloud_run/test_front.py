"""What a service answers is passed on piece by piece, whatever its size."""

from __future__ import annotations

import asyncio
import socket
import threading
import tracemalloc
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import Request

from sandbox.cloud_run import front

SIZE = 48 << 20


def _answer(there: socket.socket) -> None:
    with there:
        there.recv(1 << 16)
        there.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        piece = bytes(1 << 20)
        for _ in range(SIZE >> 20):
            there.sendall(piece)


def test_a_large_answer_is_not_held_in_memory() -> None:
    here, there = socket.socketpair()
    service = threading.Thread(target=_answer, args=(there,))
    service.start()
    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
    sent = 0

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nobody sends anything")

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))

    async def ask() -> None:
        request = Request(scope, receive)
        answer = await asyncio.to_thread(front._forward, here, request, "a.run.app", "/", b"", "", {})
        await answer(scope, receive, send)

    tracemalloc.start()
    try:
        asyncio.run(ask())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        service.join()
    assert sent == SIZE
    assert peak < SIZE // 4
