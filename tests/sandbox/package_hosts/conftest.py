"""A learner in this process, repositories of every format, and upstreams at a loopback address."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Protocol

import pytest

from tests.sandbox.in_process import Learner

API = "https://artifactregistry.googleapis.com/v1"


@dataclass
class Upstream:
    """What an upstream serves, and what it was asked.

    Attributes:
        files: path to content; whatever else is asked for is answered with 404.
        password: that of the user `robot`; without one everybody may read.
        asked: path and Authorization of each request.
    """

    files: dict[str, bytes]
    password: str = ""
    bearer: bool = False
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, path: str, authorization: str) -> tuple[int, bytes, dict[str, str]]:
        self.asked.append((path, authorization))
        basic = "Basic " + base64.b64encode(f"robot:{self.password}".encode()).decode()
        if self.bearer and path.startswith("/token"):
            return (200, b'{"token": "for-robots"}', {}) if authorization == basic else (401, b"", {})
        wanted = "Bearer for-robots" if self.bearer else basic
        if self.password and authorization != wanted:
            challenge = f'Bearer realm="{self.url}/token",service="here"' if self.bearer else 'Basic realm="here"'
            return 401, b"", {"WWW-Authenticate": challenge}
        return (200, self.files[path], {}) if path in self.files else (404, b"", {})


@contextmanager
def upstream(files: dict[str, bytes], password: str = "", *, bearer: bool = False) -> Iterator[Upstream]:
    """Serve files at a loopback address until the end of the block."""
    found = Upstream(files, password, bearer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content, headers = found.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Repository:
    """A repository, and the learner who made it."""

    learner: Learner
    format: str
    id: str

    @property
    def name(self) -> str:
        return f"projects/{self.learner.project}/locations/us-central1/repositories/{self.id}"

    @property
    def url(self) -> str:
        return f"https://us-central1-{self.format.lower()}.pkg.dev/{self.learner.project}/{self.id}"

    def get(self, path: str) -> Any:
        return self.learner.session.get(f"{self.url}/{path}")

    def about(self) -> dict[str, Any]:
        return self.learner.ask("GET", f"{API}/{self.name}")


def create(learner: Learner, kind: str, body: dict[str, Any] | None = None, status: int = 200) -> Repository:
    """A new repository; with another status the API's refusal is in `refusal`."""
    name = f"r-{secrets.token_hex(4)}"
    learner.ask("POST", parent(learner, name), {"format": kind, **(body or {})}, status)
    return Repository(learner, kind, name)


def parent(learner: Learner, name: str) -> str:
    return f"{API}/projects/{learner.project}/locations/us-central1/repositories?repositoryId={name}"


def remote(address: str, **more: Any) -> dict[str, Any]:
    return {"mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": {"commonRepository": {"uri": address}, **more}}


class Named(Protocol):
    """A repository of any test."""

    @property
    def name(self) -> str: ...


def virtual(*upstreams: tuple[Named, int]) -> dict[str, Any]:
    policies = [
        {"id": f"policy-{place}", "repository": one.name, "priority": priority}
        for place, (one, priority) in enumerate(upstreams)
    ]
    return {"mode": "VIRTUAL_REPOSITORY", "virtualRepositoryConfig": {"upstreamPolicies": policies}}


@pytest.fixture(scope="module", autouse=True)
def _apis(learner: Learner) -> None:
    learner.enable("artifactregistry.googleapis.com", "secretmanager.googleapis.com")
