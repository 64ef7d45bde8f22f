"""Send a part of a file as the body of an answer, with at most two batches in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import BinaryIO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox.doors.connection import SEND_FILE

_BATCH = 1 << 20  # bytes that are read at once


class FileSlice(Response):
    """Part of a file from its current position, which is closed at the end.

    Without TLS it is sent in a thread, past the event loop. With TLS a thread reads one batch ahead.
    """

    def __init__(self, file: BinaryIO, length: int, status_code: int, headers: Mapping[str, str]) -> None:
        super().__init__(None, status_code, dict(headers))
        self._file = file
        self._length = length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then the bytes."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if SEND_FILE not in scope:
            await self._copy(send)
            return
        with self._file:
            await scope[SEND_FILE](self._file.fileno(), self._file.tell(), self._length)
        await send({"type": "http.response.body"})

    async def _copy(self, send: Send) -> None:
        left = self._length
        if not left:
            self._file.close()
            await send({"type": "http.response.body"})
            return
        ahead = asyncio.ensure_future(asyncio.to_thread(self._file.read, min(left, _BATCH)))
        try:
            while left:
                data = await ahead
                if not data:
                    raise OSError("a file is shorter than was said")
                left -= len(data)
                if left:
                    ahead = asyncio.ensure_future(asyncio.to_thread(self._file.read, min(left, _BATCH)))
                await send({"type": "http.response.body", "body": data, "more_body": left > 0})
        finally:
            if not ahead.done():
                await asyncio.wait([ahead])
            self._file.close()
