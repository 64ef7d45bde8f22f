"""A server on loopback that serves one file, with faults that a test chooses."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """The file, the server's faults, and the requests so far.

    Attributes:
        cuts: the numbers of bytes after which the first responses end. Later ones are complete.
        asked: the Range header of each request, or an empty string.
    """

    content: bytes
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 0
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Serve the file, and yield its address."""

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
