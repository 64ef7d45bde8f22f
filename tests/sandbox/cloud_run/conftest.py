"""The image of a small server that services run, and a service's name."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Iterator

import docker
import google.auth
import pytest
from google.auth.transport.requests import Request

from helpers import deploys, names, target
from tests.sandbox.conftest import SCOPES, learner_with

# Tells what it was asked; MODE=deaf sleeps without listening, MODE=gone ends at once.
SERVER = b"""
import http.server, json, os, sys, time
if os.environ.get("MODE") == "gone": sys.exit("no server here")
if os.environ.get("MODE") == "deaf": time.sleep(600)
class Told(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size).decode()
        if self.path.startswith("/away"):
            self.send_response(302); self.send_header("Location", "/there"); self.end_headers(); return
        told = {"path": self.path, "method": self.command, "body": body, "headers": dict(self.headers),
                "env": {name: os.environ.get(name) for name in ("K_SERVICE", "K_REVISION", "COLOUR", "PORT", "TOKEN")}}
        content = json.dumps(told).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(content))); self.end_headers()
        self.wfile.write(content)
    do_POST = do_GET
    def log_message(self, *args): print("asked", self.path, flush=True)
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Told).serve_forever()
"""


@pytest.fixture(scope="module")
def pushed() -> list[names.Digest]:
    """The image that this file's tests share, as soon as one of them has pushed it."""
    return []


@pytest.fixture
def image(
    pushed: list[names.Digest], in_world: target.Target, engine: docker.DockerClient, python_image: str
) -> names.Digest:
    """A small server in the registry, with the tag v1; other tests use it too."""
    if not pushed:
        pushed.append(push_server(in_world, engine, python_image))
    return pushed[0]


@pytest.fixture
def own_image(
    pushed: list[names.Digest], in_world: target.Target, engine: docker.DockerClient, python_image: str
) -> Iterator[names.Digest]:
    """A small server for a test that deletes images; the next test pushes its own."""
    yield push_server(in_world, engine, python_image)
    pushed.clear()


def push_server(in_world: target.Target, engine: docker.DockerClient, python_image: str) -> names.Digest:
    """Build the server and push it into a new repository, with the tag v1."""
    repository = names.Repository(in_world.location, f"served-{secrets.token_hex(4)}")
    url = "https://artifactregistry.googleapis.com/v1/" + in_world.location.resource
    with learner_with("run", "artifactregistry") as session:
        made = session.post(f"{url}/repositories?repositoryId={repository.id}", json={"format": "DOCKER"})
    assert made.status_code == 200, made.text
    dockerfile = f'FROM {python_image}\nCOPY server.py /server.py\nCMD ["python3", "/server.py"]\n'.encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in (("Dockerfile", dockerfile), ("server.py", SERVER)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    context.seek(0)
    tag = repository.image("server").tag("v1")
    engine.images.build(fileobj=context, custom_context=True, tag=in_world.docker_name(tag))
    credentials, _ = google.auth.default(scopes=SCOPES)
    credentials.refresh(Request())
    login = {"username": "oauth2accesstoken", "password": credentials.token}
    events = list(engine.api.push(in_world.docker_name(tag), stream=True, decode=True, auth_config=login))
    return tag.image.digest(next(event["aux"]["Digest"] for event in events if "aux" in event))


@pytest.fixture
def name(in_world: target.Target) -> Iterator[str]:
    """The name of a service that is removed afterwards."""
    service = f"s-{secrets.token_hex(4)}"
    yield service
    deploys.delete(in_world.location, service)
