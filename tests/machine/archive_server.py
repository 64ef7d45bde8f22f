"""A server on loopback that gives one file, as well or as badly as a test wants."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server gives, and how.

    `cuts` are the numbers of bytes after which the first answers end; those after them are whole. `asked` are the
    Range headers that came, "" for none.
    """

    content: bytes
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 0
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Serve until the end of the block; gives the file's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            behaviour.asked.append(wanted)
            if behaviour.status:
                self.send_error(behaviour.status)
                return
            match = re.fullmatch(r"bytes=(\d+)-", wanted) if behaviour.ranges else None
            start = int(match[1]) if match else 0
            if start >= len(behaviour.content):
                self.send_error(416)
                return
            self.send_response(206 if match else 200)
            if match:
                size = len(behaviour.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(len(behaviour.content) - start))
            self.end_headers()
            end = start + behaviour.cuts.pop(0) if behaviour.cuts else None
            self.wfile.write(behaviour.content[start:end])

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/sdk.tar.gz"
        finally:
            server.shutdown()
            thread.join()
