"""A registry that stores nothing and answers immediately, to measure how long a client's push takes by itself.

    python benchmarks/registry/nothing.py

Prints its port on loopback, and serves until SIGTERM. It has no blob and accepts every upload.
"""

from __future__ import annotations

import asyncio
import re
import signal
from typing import cast

import uvloop

_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding: *chunked", re.IGNORECASE | re.MULTILINE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_DIGEST = re.compile(r"digest=([^&]+)")


class Nothing(asyncio.Protocol):
    """A connection that serves one request and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start with an empty request."""
        self._transport = cast(asyncio.Transport, transport)
        self._head = b""
        self._bytes = 0
        self._end = b""

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a body, and answer when it is complete."""
        if data[:1] == b"\x16" and not self._head:
            # skopeo tries TLS first, and would wait for a handshake.
            self._transport.close()
            return
        if not self._head:
            # Clients send a head in one piece.
            self._head, _, data = data.partition(b"\r\n\r\n")
        self._bytes += len(data)
        self._end = (self._end + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        if self._is_complete():
            verb, target, _ = self._head.split(b"\r\n", 1)[0].decode().split(" ")
            self._answer(verb, target)

    def _is_complete(self) -> bool:
        if _CHUNKED.search(self._head):
            return self._end == _LAST_CHUNK
        length = _LENGTH.search(self._head)
        return self._bytes >= (int(length[1]) if length else 0)

    def _answer(self, verb: str, target: str) -> None:
        status = {"HEAD": "404 Not Found", "POST": "202 Accepted", "PATCH": "202 Accepted", "PUT": "201 Created"}
        place = f"{target}upload" if verb == "POST" else target
        digest = _DIGEST.search(target)
        lines = [
            f"HTTP/1.1 {status.get(verb, '200 OK')}",
            "Docker-Distribution-Api-Version: registry/2.0",
            f"Location: {place}",
            *([f"Docker-Content-Digest: {digest[1].replace('%3A', ':')}"] if digest else []),
            "Content-Length: 0",
            "Connection: close",
        ]
        self._transport.write("\r\n".join([*lines, "", ""]).encode())
        self._transport.close()


async def serve() -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Nothing, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()


if __name__ == "__main__":
    uvloop.run(serve())
