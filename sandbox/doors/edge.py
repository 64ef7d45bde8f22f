"""The edge: an HTTPS proxy on loopback that answers for Google's hosts and tunnels every other.

A client with `HTTPS_PROXY` set to it sends `CONNECT artifactregistry.googleapis.com:443`. The edge ends TLS with a
certificate of the sandbox's own CA and hands the connection to uvicorn's HTTP protocol, in the same process and the
same app as the plain port. It needs a listener of its own because uvicorn answers CONNECT with 400. A client that
offers only HTTP/2 speaks gRPC, and is forwarded to the gRPC listener.

Source of the forms: RFC 9110 section 9.3.6 (CONNECT), RFC 9112 section 3.2.2 (absolute-form), RFC 7301 (ALPN).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import unquote, urlsplit

from sandbox.doors.certificates import Authority, is_google
from sandbox.doors.connection import Connection

_HEAD_LIMIT = 64 * 1024  # bytes of a request head
_CONNECT_SECONDS = 15.0

HttpProtocol = asyncio.Protocol
Rpc = Callable[[str], Awaitable[socket.socket]]

log = logging.getLogger("sandbox")


class _Handover(asyncio.Protocol):
    """Keep the bytes that arrive between the end of the TLS handshake and the start of the HTTP protocol."""

    def __init__(self) -> None:
        self.early = bytearray()
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class _Pipe(asyncio.Protocol):
    """One half of a tunnel, which writes what it receives to the other half, with back pressure."""

    def __init__(self, other: asyncio.Transport) -> None:
        self.other = other
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.other.write(data)

    def eof_received(self) -> bool:
        if self.other.can_write_eof():
            self.other.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.other.close()

    # asyncio calls these when this protocol's own transport is full or drained, so pause or resume the other one.
    def pause_writing(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.other.pause_reading()

    def resume_writing(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.other.resume_reading()


class EdgeProtocol(asyncio.Protocol):
    """Read one request's head, and then switch to the protocol that it needs.

    Args:
        authority: creates certificates for Google's hosts.
        http: creates an HTTP protocol bound to the sandbox's app.
        rpc: connects to the gRPC listener for one of Google's hosts.
    """

    def __init__(self, authority: Authority, http: Callable[[], HttpProtocol], rpc: Rpc) -> None:
        self._authority = authority
        self._http = http
        self._rpc = rpc
        self._head = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport until the protocol is known."""
        self._transport = transport  # type: ignore[assignment]
        self._timer = asyncio.get_running_loop().call_later(
            Connection.patience, self._refuse, 408, "The head of the request did not come to an end"
        )

    def data_received(self, data: bytes) -> None:
        """Read the head of a CONNECT or of a request, and serve it."""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > _HEAD_LIMIT:
                self._refuse(431, "The request head is too long")
            return
        self._rest()
        head, rest = bytes(self._head[: end + 4]), bytes(self._head[end + 4 :])
        self._transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._serve(head, rest))

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the task that serves the connection."""
        self._rest()
        if self._task is not None:
            self._task.cancel()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, sentence: str) -> None:
        self._rest()
        body = f"{sentence}.\n".encode()
        self._transport.write(
            f"HTTP/1.1 {status} Refused\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + body
        )
        self._transport.close()

    async def _serve(self, head: bytes, rest: bytes) -> None:
        line = head.split(b"\r\n", 1)[0].decode("latin-1")
        match = re.fullmatch(r"(\S+) (\S+) (HTTP/1\.[01])", line)
        if match is None:
            self._refuse(400, "This is the sandbox's HTTPS proxy; it takes CONNECT and absolute-form requests")
            return
        verb, target = match[1], match[2]
        try:
            if verb == "CONNECT":
                host, _, port = target.rpartition(":")
                await self._connect(host.strip("[]").lower().rstrip("."), int(port), rest)
            elif target.startswith("http://"):
                await self._absolute(verb, target, head, rest)
            else:
                self._refuse(
                    400, "This is the sandbox's HTTPS proxy; the plain port is another one (see `workbook status`)"
                )
        except (OSError, ValueError, TimeoutError) as error:
            if not self._transport.is_closing():
                self._refuse(502, f"The sandbox's proxy could not reach {target}: {str(error) or type(error).__name__}")

    async def _connect(self, host: str, port: int, rest: bytes) -> None:
        if not is_google(host):
            await self._tunnel(host, port, b"HTTP/1.1 200 Connection established\r\n\r\n", rest)
            return
        if rest:
            # asyncio's start_tls can't take bytes that were read before.
            self._refuse(400, "Wait for the answer to CONNECT before you go on")
            return
        if port != 443:
            self._refuse(403, f"The sandbox answers for {host} on port 443 only")
            return
        context = self._authority.context(host)
        handover = _Handover()
        self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._transport.set_protocol(handover)
        try:
            tls = await asyncio.get_running_loop().start_tls(self._transport, handover, context, server_side=True)
        except OSError:
            # The client rejected the certificate or hung up; it already knows why.
            self._transport.close()
            return
        if tls is None or handover.lost:
            return
        if tls.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            await self._forward_to_grpc(host, tls, handover)
        else:
            self._hand_over(tls, bytes(handover.early))

    async def _forward_to_grpc(self, host: str, tls: asyncio.Transport, handover: _Handover) -> None:
        tls.pause_reading()
        there = _Pipe(tls)
        try:
            opened = await self._rpc(host)
        except OSError:
            tls.close()
            raise
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: there, sock=opened)
        if handover.lost:
            transport.close()
            return
        transport.write(bytes(handover.early))
        here = _Pipe(transport)
        tls.set_protocol(here)
        here.connection_made(tls)
        tls.resume_reading()

    def _hand_over(self, transport: asyncio.Transport, early: bytes) -> None:
        http = self._http()
        transport.set_protocol(http)
        http.connection_made(transport)
        if early:
            http.data_received(early)

    async def _absolute(self, verb: str, target: str, head: bytes, rest: bytes) -> None:
        parts = urlsplit(target)
        host, port = (parts.hostname or "").lower(), parts.port or 80
        path = parts.path or "/"
        if parts.query:
            path += f"?{parts.query}"
        # One request per connection, because the next one could be for another kind of host.
        lines = [
            line
            for line in head.split(b"\r\n")[1:-2]
            if not line.lower().startswith((b"connection:", b"proxy-connection:", b"keep-alive:"))
        ]
        origin = b"\r\n".join([f"{verb} {path} HTTP/1.1".encode("latin-1"), *lines, b"Connection: close", b"", b""])
        if is_google(host):
            self._transport.resume_reading()
            self._hand_over(self._transport, origin + rest)
        else:
            await self._tunnel(host, port, b"", origin + rest)

    async def _tunnel(self, host: str, port: int, answer: bytes, first: bytes = b"") -> None:
        """Connect the client to a host that is not Google's, through the user's own proxy if there is one."""
        loop = asyncio.get_running_loop()
        log.info("tunnel to %s:%s", host, port)
        there = _Pipe(self._transport)
        upstream = os.environ.get("WORKBOOK_UPSTREAM_PROXY", "")
        async with asyncio.timeout(_CONNECT_SECONDS):
            if upstream:
                transport = await _through(upstream, host, port, there)
            else:
                transport, _ = await loop.create_connection(lambda: there, host, port)
        if answer:
            self._transport.write(answer)
        if first:
            transport.write(first)
        here = _Pipe(transport)
        self._transport.set_protocol(here)
        here.connection_made(self._transport)
        self._transport.resume_reading()


async def _through(proxy: str, host: str, port: int, protocol: _Pipe) -> asyncio.Transport:
    """Return a connection to host:port by CONNECT through an HTTP proxy (`http://[user:password@]host:port`)."""
    parts = urlsplit(proxy)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    credentials = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
    writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{credentials}\r\n".encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        head = b""
    if b" 200" not in head.split(b"\r\n", 1)[0]:
        writer.close()
        raise OSError(f"the proxy {parts.hostname} refused to lead there")
    transport = cast(asyncio.Transport, writer.transport)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    return transport


async def listen(authority: Authority, http: Callable[[], HttpProtocol], rpc: Rpc, port: int) -> asyncio.Server:
    """Open the edge on 127.0.0.1. Port 0 means any free one."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: EdgeProtocol(authority, http, rpc), "127.0.0.1", port)
