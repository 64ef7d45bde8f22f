"""One HTTP connection: uvicorn's protocol, with an end to a sender's silence.

uvicorn waits for the rest of a request for ever. Here a request whose next byte does not come is answered with 408
(RFC 9110 section 15.5.9), and the connection is closed. Silence while the sandbox itself reads no further
is not counted.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HANG_UP = "sandbox.hang_up"  # key of the scope: a function that ends the connection after what was written


class Connection(HttpToolsProtocol):
    """A connection that does not wait for ever.

    Attributes:
        patience: seconds of silence in the middle of a request; one for the process.
    """

    patience: ClassVar[float] = 60.0

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._timer: asyncio.TimerHandle | None = None
        self._incomplete = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection without a request may be as silent as one between two requests."""
        super().connection_made(transport)
        self._wait(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._rest()
        super().data_received(data)
        if self._incomplete and not self.transport.is_closing():
            self._wait(self.patience)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._incomplete = True
        cast(dict[str, Any], self.scope)[HANG_UP] = self.transport.close

    def on_message_complete(self) -> None:
        self._incomplete = False
        super().on_message_complete()

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
        if self._incomplete:
            body = b"The request did not go on, and the sandbox stopped waiting for it.\n"
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
            )
        self.transport.close()
