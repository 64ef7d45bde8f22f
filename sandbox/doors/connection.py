"""One HTTP connection: uvicorn's protocol plus a read timeout (408) and file bodies sent from a thread.

uvicorn waits forever for the rest of a request. Here a request whose next byte does not come in time is answered with
408 (RFC 9110 section 15.5.9), and the connection is closed. Time in which the sandbox itself pauses reading does not
count.

uvicorn has no `http.response.pathsend`. Here a body that is part of a file is written to the socket in a thread, and
the event loop handles none of its bytes.
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

HANG_UP = "sandbox.hang_up"  # key of the scope: a function that closes the connection after what was written
SEND_FILE = "sandbox.send_file"  # key of the scope of a plain connection: see `_send_file`

_AT_ONCE = 8 << 20  # bytes that a thread sends before it serves another download
_LONGEST_HEAD = 128 << 10  # bytes of a request's head, after the piece in which it begins
_PIECE = 1 << 20  # bytes per read. Larger pieces have left the processor's cache when the client reads them
_SENDERS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="download")
_buffers = threading.local()


class Connection(HttpToolsProtocol):
    """A connection with timeouts.

    Attributes:
        patience: the seconds of silence allowed within a request, for the whole process.
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
        """Start the timeout of a connection without a request, which is that between two requests."""
        super().connection_made(transport)
        self._wait(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Refuse a head that is too long, and restart the timeout for the rest of a request."""
        self._rest()
        # Because the parser joins the pieces of a header as they come, its time grows with the square of the size.
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
        """Note that a request has begun, and add the function that closes the connection to its scope."""
        super().on_message_begin()
        self._incomplete = self._headless = True
        self._acknowledged = False
        # The bytes before it may belong to the previous request's body.
        self._head = 0
        cast(dict[str, Any], self.scope)[HANG_UP] = self.transport.close

    def on_headers_complete(self) -> None:
        """Add the function that sends a file to the request's scope, on a connection without TLS."""
        super().on_headers_complete()
        self._headless = False
        if self.scheme == "http":
            cast(dict[str, Any], self.scope)[SEND_FILE] = functools.partial(_send_file, self.cycle)

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        self._incomplete = False
        super().on_message_complete()

    def _acknowledge(self) -> None:
        """Send a TCP acknowledgement for a head whose body is still to come, once for each request.

        urllib3 leaves Nagle's algorithm on for a proxy, so every Python client and gcloud hold the body back until the
        head is acknowledged, which the system would do only after 40 ms.
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
        # uvicorn has no cycle before the first request's head is complete.
        cycle = cast(RequestResponseCycle | None, self.cycle)
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if self.flow.read_paused or answering:
            # The silence is not the sender's. The client may be slow to read the answer.
            self._wait(self.patience)
            return
        # A request may have been answered before its body arrived, and then needs no other answer.
        if self._incomplete and (self._headless or cycle is None or not cycle.response_complete):
            self._refuse("408 Request Timeout", "The request did not go on, and the sandbox stopped waiting for it.")
        self.transport.close()

    def _refuse(self, status: str, sentence: str) -> None:
        """Answer instead of the application, and close the connection."""
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
        file: the file's descriptor.
    """
    # First empty the transport's buffer, because the thread writes to the socket directly.
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
    """Send bytes until the client pauses reading for 20 ms, and return their number. Blocking.

    It doesn't use sendfile, which takes less of this process's time but more of the client's: the client would then be
    the first to bring the file's pages into the processor's cache, and the download waits for its hashing.
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
