"""The gRPC listener behind the edge, which converts each call to an HTTP request for the dispatch table.

The edge ends TLS and forwards a connection here if its client offers only HTTP/2. The connection's source port
identifies the Google host that it was opened for. Connections that are not from the edge are refused.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import importlib
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError
from starlette.types import ASGIApp

from sandbox.doors import grpc_schema, grpc_transcoding, log_tail

_THREADS = 16
_MESSAGE_LIMIT = 16 * 1024 * 1024  # bytes, as for the same calls over HTTP
_STOP_SECONDS = 1.0
# Metadata of HTTP and gRPC themselves. The rest is the caller's own and is forwarded.
_TRANSPORT = ("grpc-", ":", "te", "content-type", "content-length", "host", "accept-encoding")
log = logging.getLogger("sandbox")


class Door:
    """The listener, which opens at the first connection, because it takes half a second and 20 MB.

    Args:
        app: the dispatch table.
        now: returns the sandbox's time.
    """

    def __init__(self, app: ASGIApp, now: Callable[[], dt.datetime]) -> None:
        self._app = app
        self._now = now
        self._tails = threading.BoundedSemaphore(log_tail.SESSIONS)
        self._server: Any = None
        self._port = 0
        self._opening = asyncio.Lock()
        self._hosts: dict[int, str] = {}
        self._loop: asyncio.AbstractEventLoop

    async def connect(self, host: str) -> socket.socket:
        """Return a connection to this listener for calls to a host.

        Raises:
            OSError: if no port of loopback is free.
        """
        async with self._opening:
            if self._server is None:
                self._loop = asyncio.get_running_loop()
                await asyncio.to_thread(self._open)
        here = socket.socket()
        try:
            here.bind(("127.0.0.1", 0))
            here.setblocking(False)
            self._hosts[here.getsockname()[1]] = host
            await self._loop.sock_connect(here, ("127.0.0.1", self._port))
        except OSError:
            here.close()
            raise
        return here

    def close(self) -> None:
        """End all calls and connections."""
        if self._server is not None:
            self._server.stop(_STOP_SECONDS).wait()

    def _open(self) -> None:
        grpc = importlib.import_module("grpc")
        handler = type("Handler", (grpc.GenericRpcHandler,), {"service": lambda _, details: self._handler(details)})
        server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="rpc"),
            handlers=(handler(),),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _MESSAGE_LIMIT)],
        )
        self._port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._server = server

    def _handler(self, details: Any) -> Any:
        grpc = importlib.import_module("grpc")
        # Without serializers, a handler receives and returns bytes.
        if details.method == log_tail.PATH:
            return grpc.stream_stream_rpc_method_handler(functools.partial(self._tail, grpc))
        return grpc.unary_unary_rpc_method_handler(functools.partial(self._serve, grpc, details.method))

    # context.abort always raises. Its "result" only shows the type checker that the call ends there.
    def _serve(self, grpc: Any, path: str, content: bytes, context: Any) -> bytes:
        host = self._hosts.get(int(context.peer().rpartition(":")[2]), "")
        found = grpc_schema.find(path, host)
        if not host or found is None:
            where = f" of {host}" if host else ", which did not come through the edge"
            sentence = f'The workbook\'s sandbox does not do this: the gRPC call {path}{where}. transport="rest" may.'
            return bytes(context.abort(grpc.StatusCode.UNIMPLEMENTED, sentence))
        try:
            request = grpc_transcoding.request(found, content)
        except grpc_transcoding.NotTranscodable as error:
            return bytes(context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{error}."))
        pending = self._ask(host, context, request)
        context.add_callback(pending.cancel)
        status, body = pending.result()
        if status >= 400:
            return self._fail(grpc, context, status, body)
        try:
            return grpc_transcoding.answer(found, body)
        except ParseError:
            log.exception("the answer of %s is no %s", path, grpc_schema.name(found.answer))
            return bytes(context.abort(grpc.StatusCode.INTERNAL, "Internal error encountered."))

    def _tail(self, grpc: Any, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        host = self._hosts.get(int(context.peer().rpartition(":")[2]), "")
        if host != log_tail.HOST:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{host or 'This port'} has no {log_tail.PATH}.")
        over = threading.Event()
        first = next(requests, None)
        if first is None or not context.add_callback(over.set):
            return
        if not self._tails.acquire(blocking=False):
            sentence = f"{log_tail.SESSIONS} tail sessions are open, and that is the limit."  # unverified: the sentence
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, sentence)
        try:
            entries = functools.partial(self._ask, host, context)
            yield from log_tail.tail(lambda request: entries(request).result(), self._now(), first, over)
        except log_tail.Refused as refused:
            self._fail(grpc, context, refused.status, refused.body)
        except DecodeError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"The request is no TailLogEntriesRequest: {error}.")
        except ParseError as error:
            sentence = f"The workbook's sandbox does not do this: a tail of entries that are more than text ({error})."
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{sentence} entries:list has them.")
        finally:
            self._tails.release()

    def _ask(self, host: str, context: Any, request: grpc_transcoding.HttpRequest) -> Future[tuple[int, bytes]]:
        return asyncio.run_coroutine_threadsafe(
            ask(self._app, host, request, context.invocation_metadata()), self._loop
        )

    def _fail(self, grpc: Any, context: Any, status: int, body: bytes) -> bytes:
        failed = grpc_transcoding.failure(status, body)
        context.set_trailing_metadata((("grpc-status-details-bin", failed.status),))
        return bytes(context.abort(grpc.StatusCode[failed.code], failed.message))


async def ask(
    app: ASGIApp, host: str, request: grpc_transcoding.HttpRequest, metadata: Iterable[tuple[str, str | bytes]]
) -> tuple[int, bytes]:
    """Send a request to the dispatch table as the edge does, and return the HTTP status and the body."""
    headers = [(b"host", host.encode()), (b"content-length", str(len(request.body)).encode())]
    if request.body:
        headers.append((b"content-type", b"application/json"))
    headers += [
        (name.lower().encode(), value.encode())
        for name, value in metadata
        if isinstance(value, str) and not name.lower().startswith(_TRANSPORT)
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": request.verb,
        "scheme": "https",
        "path": unquote(request.path),
        "raw_path": request.path.encode(),
        "query_string": request.query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 0),
        "server": (host, 443),
    }
    status, body = 500, bytearray()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = int(message["status"])
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, send)
    return status, bytes(body)
