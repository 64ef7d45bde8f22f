"""One HTTP connection: uvicorn's protocol plus a read timeout (408) and file bodies sent from a thread.

uvicorn waits without end for the rest of a request. Here a request whose next byte does not come is answered with 408
(RFC 9110 section 15.5.9), and the connection is closed. Silence while the sandbox itself reads no further
is not counted.

uvicorn has no `http.response.pathsend`. Here a body that is part of a file goes from the page cache to the socket in a
thread, and the event loop sees none of its bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HANG_UP = "sandbox.hang_up"  # key of the scope: a function that ends the connection after what was written
SEND_FILE = "sandbox.send_file"  # key of the scope of a plain connection: see `_send_file`

_AT_ONCE = 8 << 20  # bytes that a thread sends before another download has its turn
_LONGEST_HEAD = 128 << 10  # bytes of a request's head, after the piece in which it begins
_PIECE = 1 << 20  # bytes read at once; what is larger is out of the processor's cache when the client reads it
_SENDERS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="download")
_buffers = threading.local()


class Connection(HttpToolsProtocol):
    """A connection whose waits have an end.

    Attributes:
        patience: seconds of silence in the middle of a request; one for the process.
    """

    patience: ClassVar[float] = 60.0

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._timer: asyncio.TimerHandle | None = None
        self._incomplete = False
        self._headless = False
        self._acknowledged = False
        self._head = 0  # bytes that came since the last request's head was whole

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch a new connection: without a request it may be as silent as one between two requests."""
        super().connection_made(transport)
        self._wait(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the patience with the connection."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Refuse a head without end, and wait anew for the rest of a request."""
        self._rest()
        # Beyond it the parser, which joins the pieces of a header as they come, takes time in the square of its size.
        self._head += len(data)
        if self._headless and self._head > _LONGEST_HEAD:
            self._refuse("431 Request Header Fields Too Large", f"A request's head has at most {_LONGEST_HEAD} bytes.")
            return
        super().data_received(data)
        if not self._headless:
            self._head = 0
        if self._incomplete and not self.transport.is_closing():
            self._wait(self.patience)
            if not self._headless and not self._acknowledged:
                self._acknowledge()

    def on_message_begin(self) -> None:
        """Note that a request has begun, and give it what hangs up on its sender."""
        super().on_message_begin()
        self._incomplete = self._headless = True
        self._acknowledged = False
        # What came with it may be the end of another request's body.
        self._head = 0
        cast(dict[str, Any], self.scope)[HANG_UP] = self.transport.close

    def on_headers_complete(self) -> None:
        """Give the request what sends a file without a copy, where nothing encrypts."""
        super().on_headers_complete()
        self._headless = False
        if self.scheme == "http":
            cast(dict[str, Any], self.scope)[SEND_FILE] = functools.partial(_send_file, self.cycle)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._incomplete = False
        super().on_message_complete()

    def _acknowledge(self) -> None:
        """Acknowledge a head whose body is still to come, once for each request.

        urllib3 leaves Nagle's algorithm on for a proxy, so every Python client and gcloud hold the body back until the
        head is acknowledged; the system would wait 40 ms with that.
        """
        self._acknowledged = True
        if hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):
                self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _wait(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        # uvicorn has no cycle before the first request's head is whole.
        cycle = cast(RequestResponseCycle | None, self.cycle)
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if self.flow.read_paused or answering:
            # Not the sender's silence; whoever is answered may be slow to read.
            self._wait(self.patience)
            return
        # A request may be answered before its body is here; then there is nothing left to say.
        if self._incomplete and (self._headless or cycle is None or not cycle.response_complete):
            self._refuse("408 Request Timeout", "The request did not go on, and the sandbox stopped waiting for it.")
        self.transport.close()

    def _refuse(self, status: str, sentence: str) -> None:
        """Answer in the application's place, and hang up."""
        body = f"{sentence}\n".encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


async def _send_file(cycle: RequestResponseCycle, file: int, start: int, length: int) -> None:
    """Send part of a file as a body of known length, after the head and before the message that ends the body.

    Args:
        file: descriptor.
    """
    # What is past the transport must come after what is in it.
    cycle.transport.set_write_buffer_limits(0)
    await cycle.flow.drain()
    cycle.transport.set_write_buffer_limits()
    loop = asyncio.get_running_loop()
    cycle.expected_content_length -= length
    # Duplicate the descriptor: asyncio forbids `add_writer` on one that a transport owns.
    line = os.dup(cycle.transport.get_extra_info("socket").fileno())
    try:
        while length and not cycle.disconnected:
            sent = await loop.run_in_executor(_SENDERS, _push, line, file, start, min(length, _AT_ONCE))
            start, length = start + sent, length - sent
            if not sent:
                await _writable(loop, line)
    except ConnectionError:
        cycle.transport.abort()
    finally:
        os.close(line)


def _push(line: int, file: int, start: int, length: int) -> int:
    """Send as much as the other side takes without a pause of 20 ms; the bytes sent. Blocking.

    Not by sendfile, which takes less of this process's time and more of the client's: it then is the first to bring the
    file's pages into the processor's cache, and a client that hashes what it gets is what a download waits for.
    """
    sent = 0
    ready = select.poll()
    ready.register(line, select.POLLOUT)
    if not hasattr(_buffers, "piece"):
        _buffers.piece = memoryview(bytearray(_PIECE))
    left = _buffers.piece[:0]
    while sent < length and ready.poll(20):
        if not left:
            piece = _buffers.piece[: length - sent]
            left = piece[: os.preadv(file, [piece], start + sent)]
            if not left:
                raise OSError("a blob's file is shorter than its row says")
        try:
            passed = os.write(line, left)
        except BlockingIOError:
            continue
        left = left[passed:]
        sent += passed
    return sent


async def _writable(loop: asyncio.AbstractEventLoop, line: int) -> None:
    ready = asyncio.Event()
    loop.add_writer(line, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(line)
