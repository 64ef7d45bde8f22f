"""Which builder the `docker` command is told to use, by what the engine says that it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from machine import engine


@contextmanager
def answering(component: str, system: str) -> Iterator[engine.Engine]:
    """An engine that says what it is, and no more."""
    told = {
        "version": {"ApiVersion": "1.41", "Version": "1.0", "Components": [{"Name": component}]},
        "info": {"OperatingSystem": system},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told[self.path.rpartition("/")[2]]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nothing: the tests' output is for the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield engine.Engine(f"tcp://127.0.0.1:{server.server_port}", False, "1.0", True)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("component", "system", "has_buildx", "builder"),
    [
        ("Engine", "Debian GNU/Linux 13", True, "1"),
        ("Engine", "Debian GNU/Linux 12", False, "0"),
        ("Engine", "Docker Desktop", False, "1"),
        ("Podman Engine", "debian", True, "0"),
    ],
)
def test_buildkit_is_used_if_command_and_engine_have_it(
    component: str, system: str, has_buildx: bool, builder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "docker"
    command.write_text(f"#!/bin/sh\nexit {0 if has_buildx else 1}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with answering(component, system) as found:
        variables = engine.environment(found)
    assert variables["DOCKER_BUILDKIT"] == builder
    assert variables["BUILDX_NO_DEFAULT_ATTESTATIONS"] == "1"
