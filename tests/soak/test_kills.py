"""SIGKILL at random moments of pushes from several clients: acknowledged images survive, and none is incomplete."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import random
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from sandbox import seed
from sandbox.artifact_registry import blobs
from sandbox.iam import policies, tokens
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.sandboxes import Sandbox

WHOLE = os.environ.get("WORKBOOK_SOAK") == "1"
KILLS = 50 if WHOLE else 3
CLIENTS = 16 if WHOLE else 8
IMAGES = 100 if WHOLE else 3  # of each client, in the test without kills
HOST = "us-central1-docker.pkg.dev"
KIND = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Server(Sandbox):
    """A sandbox into which images are pushed."""

    token: str = ""
    acknowledged: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {self.token}"
        return session

    def url(self, package: str, rest: str) -> str:
        return f"http://localhost:{self.port}/v2/{HOST}/{self.project}/ml-images/{package}/{rest}"

    def push(self, session: requests.Session, package: str, tag: str, layers: list[bytes]) -> tuple[str, list[str]]:
        """Push an image, and return its digest and those of its blobs after all requests are acknowledged."""
        digests = []
        for content in (b"{}", *layers):
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            answer = session.post(self.url(package, f"blobs/uploads/?digest={digest}"), data=content, timeout=60)
            assert answer.status_code == 201, answer.text
            digests.append(digest)
        entries = [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": len(content)}
            for digest, content in zip(digests[1:], layers, strict=True)
        ]
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digests[0], "size": 2}
        body = json.dumps({"schemaVersion": 2, "mediaType": KIND, "config": config, "layers": entries}).encode()
        put = session.put(self.url(package, f"manifests/{tag}"), data=body, headers={"Content-Type": KIND}, timeout=60)
        assert put.status_code == 201, put.text
        return f"sha256:{hashlib.sha256(body).hexdigest()}", digests

    def check(self, session: requests.Session, package: str, tag: str, digest: str, held: list[str]) -> None:
        """Pull an image and check every digest."""
        manifest = session.get(self.url(package, f"manifests/{tag}"), timeout=60)
        assert manifest.status_code == 200, f"{package}:{tag} {manifest.text}"
        assert f"sha256:{hashlib.sha256(manifest.content).hexdigest()}" == digest
        for blob in held:
            content = session.get(self.url(package, f"blobs/{blob}"), timeout=60).content
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    project = f"ml-workbook-{secrets.token_hex(3)}"
    world = World(tmp_path / "state", Clock())
    about = seed.prepare(world, tmp_path, project, "us-central1")
    learner = f"serviceAccount:{about['learner']}"
    with world.writing() as rows:
        policies.grant(rows, world, f"projects/{project}", "roles/owner", learner)
        rows.execute("INSERT OR IGNORE INTO services VALUES (?, 'artifactregistry.googleapis.com', 'x')", (project,))
    token = tokens.mint(world, learner)
    world.close()
    found = Server(tmp_path, project, token=token)
    try:
        found.start()
        parent = f"projects/{project}/locations/us-central1/repositories?repositoryId=ml-images"
        url = f"http://localhost:{found.port}/artifactregistry.googleapis.com/v1/{parent}"
        with found.session() as session:
            assert session.post(url, json={"format": "DOCKER"}, timeout=30).status_code == 200
        yield found
    finally:
        found.kill()


def layers_of(number: random.Random) -> list[bytes]:
    """Return one to three random layers of up to 300 kB each."""
    return [number.randbytes(number.randrange(1, 300_000)) for _ in range(number.randrange(1, 4))]


def test_acknowledged_pushes_survive_every_kill(server: Server) -> None:
    seeded = random.Random(20261122)

    def push_on(client: int, stopped: threading.Event, round_: int) -> None:
        mine = random.Random(f"{client} {round_}")
        with server.session() as session:
            for number in range(10_000):
                package, tag = f"image-{client}", f"r{round_}-{number}"
                try:
                    pushed = server.push(session, package, tag, layers_of(mine))
                except requests.RequestException:
                    return  # the server was killed before its response arrived
                server.acknowledged[f"{package}:{tag}"] = pushed
                if stopped.is_set():
                    return

    for round_ in range(KILLS):
        stopped = threading.Event()
        clients = [threading.Thread(target=push_on, args=(client, stopped, round_)) for client in range(4)]
        before = len(server.acknowledged)
        for thread in clients:
            thread.start()
        deadline = time.monotonic() + 30
        # Kill at a random moment after at least one push of this round has ended.
        while len(server.acknowledged) == before:
            assert time.monotonic() < deadline
            stopped.wait(0.005)
        stopped.wait(seeded.uniform(0, 0.4))
        server.kill()
        stopped.set()
        for thread in clients:
            thread.join(timeout=60)
        server.start()
        with server.session() as session:
            for name, (digest, held) in list(server.acknowledged.items())[before:]:
                server.check(session, *name.split(":"), digest, held)
    with server.session() as session:
        for name, (digest, held) in server.acknowledged.items():
            server.check(session, *name.split(":"), digest, held)
        for client in range(4):
            # Visible images are complete, even unacknowledged ones.
            for tag in session.get(server.url(f"image-{client}", "tags/list"), timeout=60).json()["tags"]:
                body = session.get(server.url(f"image-{client}", f"manifests/{tag}"), timeout=60)
                digest = f"sha256:{hashlib.sha256(body.content).hexdigest()}"
                held = [entry["digest"] for entry in [body.json()["config"], *body.json()["layers"]]]
                server.check(session, f"image-{client}", tag, digest, held)
    server.kill()
    no_orphans(server)


def no_orphans(server: Server) -> None:
    """Check that, two days later, every blob's file belongs to a version and no upload is left."""
    world = World(server.home / "state", Clock(offset=dt.timedelta(days=2)))
    try:
        blobs.sweep(world)
        with world.reading() as rows:
            needed = {
                row[0] for row in rows.execute("SELECT blob FROM version_blobs UNION SELECT digest FROM versions")
            }
        there = {f"{file.parent.parent.name}:{file.name}" for file in (world.folder / "blobs").glob("*/*/*")}
        assert there == needed
        assert list((world.folder / "uploads").iterdir()) == []
    finally:
        world.close()


def test_concurrent_clients_push_and_pull_their_images(server: Server) -> None:
    wrong: list[str] = []

    def work(client: int) -> None:
        mine = random.Random(client)
        try:
            with server.session() as session:
                for number in range(IMAGES):
                    pushed = server.push(session, f"many-{client % 4}", f"c{client}-{number}", layers_of(mine))
                    server.check(session, f"many-{client % 4}", f"c{client}-{number}", *pushed)
        except (AssertionError, requests.RequestException) as error:
            wrong.append(f"client {client}: {error}")

    threads = [threading.Thread(target=work, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, "\n".join(wrong)
    with server.session() as session:
        tags = [
            tag
            for n in range(4)
            for tag in session.get(server.url(f"many-{n}", "tags/list"), timeout=60).json()["tags"]
        ]
    assert len(tags) == CLIENTS * IMAGES
