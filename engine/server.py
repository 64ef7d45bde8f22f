"""The HTTP server of the Engine API: a Unix socket, with a thread for each connection."""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import socketserver
import sys
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from engine.errors import Refused, bad_request, unsupported

API = "1.44"
OLDEST = "1.24"
_DOCUMENT_BYTES = 8 * 1024**2
# How much of the body is still read after its request was refused.
_DRAIN_SECONDS, _DRAIN_BYTES = 5, 1 << 30
_RAW = "application/vnd.docker.raw-stream"

Route = Callable[["Call"], None]
_routes: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    """Register a function for a method and a pattern of paths with named groups."""

    def register(function: Route) -> Route:
        _routes.append((method, re.compile(pattern), function))
        return function

    return register


class _Body(io.RawIOBase):
    """A request's body, of known length or in chunks."""

    def __init__(self, stream: Any, length: int | None) -> None:
        self._stream, self._left, self._chunked = stream, length or 0, length is None
        self._ended = length == 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._ended:
            return 0
        if self._chunked and not self._left:
            size = self._stream.readline(64).split(b";")[0].strip()
            self._left = int(size, 16)
            if not self._left:
                while self._stream.readline(1024).strip():
                    pass
                self._ended = True
                return 0
        block = self._stream.read(min(len(buffer), self._left))
        if not block:
            raise ConnectionResetError("the client went away")
        buffer[: len(block)] = block
        self._left -= len(block)
        if self._chunked and not self._left:
            self._stream.readline(16)
        elif not self._left:
            self._ended = True
        return len(block)


class Call:
    """A request, with methods to answer it."""

    def __init__(self, handler: Handler, path: str, query: dict[str, list[str]], names: dict[str, str]) -> None:
        self._handler = handler
        self.engine: Any = handler.server.engine  # type: ignore[attr-defined]
        self.path, self.query, self.names = path, query, names
        self.method = handler.command
        self.headers = handler.headers
        chunked = "chunked" in (handler.headers.get("Transfer-Encoding") or "")
        length = None if chunked else int(handler.headers.get("Content-Length") or 0)
        self.body = io.BufferedReader(_Body(handler.rfile, length))
        self.answered = False

    def one(self, name: str, default: str = "") -> str:
        """Return a parameter of the query, the first if there are several."""
        return self.query.get(name, [default])[0]

    def is_set(self, name: str, *, default: bool = False) -> bool:
        """Return whether a parameter of the query is true."""
        text = self.one(name).lower()
        return default if not text else text not in ("0", "false", "no", "none")

    def document(self) -> dict[str, Any]:
        """Return the JSON object of the body. Raises Refused."""
        content = self.body.read(_DOCUMENT_BYTES + 1)
        if len(content) > _DOCUMENT_BYTES:
            raise bad_request("the request's document is too long")
        try:
            found = json.loads(content or b"{}")
        except ValueError as error:
            raise bad_request(f"invalid JSON: {error}") from None
        if not isinstance(found, dict):
            raise bad_request("invalid JSON: an object is expected")
        return found

    def filters(self) -> dict[str, list[str]]:
        """Return the parameter `filters`, decoded. Raises Refused."""
        try:
            found = json.loads(self.one("filters") or "{}")
            return {key: [str(one) for one in value] for key, value in found.items()}
        except (ValueError, AttributeError, TypeError):
            raise bad_request("invalid filter") from None

    # ---- answers

    def reply(self, status: int, document: Any = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Answer with a JSON document, with bytes, or without a body."""
        content = (
            b""
            if document is None
            else document
            if isinstance(document, bytes)
            else json.dumps(document).encode() + b"\n"
        )
        kind = "text/plain; charset=utf-8" if isinstance(document, bytes) else "application/json"
        self._head(status, (*headers, ("Content-Type", kind), ("Content-Length", str(len(content)))))
        if self.method != "HEAD":
            self._handler.wfile.write(content)

    def _head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.answered = True
        self._handler.send_response(status)
        for name, value in (("Api-Version", API), ("Docker-Experimental", "false"), ("Ostype", "linux"), *headers):
            self._handler.send_header(name, value)
        self._handler.end_headers()

    @contextlib.contextmanager
    def chunks(self, kind: str) -> Iterator[Callable[[bytes], None]]:
        """Answer 200 and yield a function that sends pieces of the body. Close the connection after an error."""
        headers = (("Content-Type", kind), ("Transfer-Encoding", "chunked"))
        self._head(200, headers)
        out = self._handler.wfile

        def send(block: bytes) -> None:
            if block:
                out.write(b"%x\r\n%s\r\n" % (len(block), block))
                out.flush()

        out.flush()
        try:
            yield send
        except BaseException:
            self._handler.close_connection = True
            raise
        out.write(b"0\r\n\r\n")
        out.flush()

    def messages(self, work: Callable[[Callable[[dict[str, Any]], None]], Any]) -> None:
        """Answer with the messages of `work`, a line each. An error before the first sets the status, later a line."""
        opened = contextlib.ExitStack()
        sent: list[Callable[[bytes], None]] = []

        def say(message: dict[str, Any]) -> None:
            if not sent:
                sent.append(opened.enter_context(self.chunks("application/json")))
            sent[0](json.dumps(message, separators=(",", ":")).encode() + b"\r\n")

        with opened:
            try:
                work(say)
            except Refused as error:
                if not sent:
                    raise
                say(error.detail())
            except OSError as error:
                if not sent or isinstance(error, ConnectionError):
                    raise
                say({"errorDetail": {"message": str(error)}, "error": str(error)})
            if not sent:
                with self.chunks("application/json"):
                    pass

    def hijack(self) -> tuple[socket.socket, Any]:
        """Turn the connection into a stream in both directions. Return the socket to write to and the file to read."""
        self.answered = True
        wants = (self.headers.get("Upgrade") or "").lower() == "tcp"
        first = "HTTP/1.1 101 UPGRADED" if wants else "HTTP/1.1 200 OK"
        more = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if wants else ""
        connection = self._handler.connection
        connection.sendall(f"{first}\r\nContent-Type: {_RAW}\r\n{more}\r\n".encode())
        self._handler.close_connection = True
        return connection, self._handler.rfile

    def is_gone(self) -> bool:
        """Return whether the client has closed its connection."""
        connection = self._handler.connection
        try:
            connection.setblocking(False)
            return bool(connection.recv(1, socket.MSG_PEEK) == b"")
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            with contextlib.suppress(OSError):
                connection.setblocking(True)


class Handler(BaseHTTPRequestHandler):
    """Handles the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "workbook-engine"

    def log_message(self, *_: Any) -> None:
        """Log nothing: `_answer` logs errors."""

    def address_string(self) -> str:
        """Return a name for the client, which has no address on a Unix socket."""
        return "unix"

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = re.sub(r"^/v\d+\.\d+(?=/)", "", unquote(parts.path))
        version = re.match(r"/v1\.(\d+)/", parts.path)
        call: Call | None = None
        try:
            for method, pattern, function in _routes:
                match = pattern.fullmatch(path) if method == self.command else None
                if match:
                    query = parse_qs(parts.query, keep_blank_values=True)
                    call = Call(self, path, query, match.groupdict())
                    if version and int(version[1]) > int(API.partition(".")[2]):
                        raise bad_request(
                            f"client version 1.{version[1]} is too new. Maximum supported API version is {API}"
                        )
                    function(call)
                    if self.command in ("POST", "PUT") and not self.close_connection:
                        while call.body.read(65536):
                            pass
                    return
            call = Call(self, path, {}, {})
            self.close_connection = True
            # A client whose connection is closed while it sends doesn't read the response.
            call.body.read(_DOCUMENT_BYTES)
            raise unsupported(f"{self.command} {path}")
        except ConnectionError:
            self.close_connection = True
        except Refused as error:
            self._refuse(call, error)
        except OSError as error:
            print(traceback.format_exc(), file=sys.stderr, flush=True)
            self._refuse(call, Refused(str(error)))
        except Exception as error:  # noqa: BLE001 - a bug ends one call, not the engine
            print(traceback.format_exc(), file=sys.stderr, flush=True)
            self._refuse(call, Refused(f"the workbook's engine met a fault of its own: {error!r}. Its log says more."))

    def _refuse(self, call: Call | None, error: Refused) -> None:
        # The rest of the body may still be on its way, so the connection can't be used again.
        self.close_connection = True
        if call is not None and not call.answered:
            with contextlib.suppress(OSError, ValueError):
                call.reply(error.status, {"message": str(error)}, (("Connection", "close"),))
                # A client whose connection is closed while it sends reports that instead of the response.
                self.connection.settimeout(_DRAIN_SECONDS)
                left = _DRAIN_BYTES
                while left > 0 and (block := call.body.read(65536)):
                    left -= len(block)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The server on its socket."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path, engine: Any) -> None:
        self.engine = engine
        super().__init__(str(path), Handler)
        path.chmod(0o600)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log errors, except those of closed connections."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            print(traceback.format_exc(), file=sys.stderr, flush=True)
