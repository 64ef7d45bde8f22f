"""Faults on demand, met by the real clients: what they try again they get, what they don't they report."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth
import pytest
import requests
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.transport.requests import AuthorizedSession
from google.cloud import artifactregistry_v1 as ar

from cli.world.starter import World
from helpers import projects
from helpers.names import Project

API = "artifactregistry.googleapis.com"
HOST = "us-central1-docker.pkg.dev"


class Admin:
    """The admin surface of a world."""

    def __init__(self, world: World) -> None:
        self._url = f"{world.url}/_sandbox/faults"
        self._headers = {"Authorization": f"Bearer {(world.home / 'admin-token').read_text().strip()}"}

    def ask(self, verb: str, body: Any = None) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(verb, self._url, json=body, headers=self._headers, timeout=30)

    def plant(self, **fault: Any) -> None:
        answer = self.ask("POST", fault)
        assert answer.status_code == 200, answer.text

    def waiting(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET").json()["faults"]
        return found


@pytest.fixture
def admin(world: World, in_world: object) -> Iterator[Admin]:
    projects.enable(Project(os.environ["PROJECT_ID"]), API)
    found = Admin(world)
    yield found
    found.ask("DELETE")


@pytest.fixture
def repository(admin: Admin) -> Iterator[str]:
    """The resource name of a repository."""
    client = ar.ArtifactRegistryClient(transport="rest")
    parent = f"projects/{os.environ['PROJECT_ID']}/locations/us-central1"
    made = client.create_repository(
        parent=parent, repository_id=f"r-{secrets.token_hex(4)}", repository=ar.Repository(format_="DOCKER")
    ).result()
    yield made.name
    admin.ask("DELETE")
    client.delete_repository(name=made.name).result()


def test_python_tries_503_again_when_it_is_told_to(admin: Admin, repository: str) -> None:
    client = ar.ArtifactRegistryClient(transport="rest")
    admin.plant(method="*.repositories.get", status=503, times=2)
    with pytest.raises(exceptions.ServiceUnavailable, match="told to fail this call with 503"):
        client.get_repository(name=repository)
    again = Retry(predicate=if_exception_type(exceptions.ServiceUnavailable), initial=0.01, timeout=30)
    assert client.get_repository(name=repository, retry=again).name == repository
    assert admin.waiting() == []


def test_python_reports_429_as_what_it_is(admin: Admin, repository: str) -> None:
    admin.plant(host=API, verb="GET", path="/v1/*/repositories/*", status=429)
    with pytest.raises(exceptions.TooManyRequests) as refused:
        ar.ArtifactRegistryClient(transport="rest").get_repository(name=repository)
    assert refused.value.code == 429


def test_gcloud_tries_503_again(admin: Admin, repository: str, gcloud: Path) -> None:
    admin.plant(method="artifactregistry.projects.locations.repositories.get", status=503)
    name = repository.rpartition("/")[2]
    command = [gcloud, "artifacts", "repositories", "describe", name, "--location=us-central1", "--format=value(name)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repository
    assert admin.waiting() == []


def test_the_registry_fails_in_its_own_words(admin: Admin, repository: str, session: AuthorizedSession) -> None:
    base = f"https://{HOST}/v2/{os.environ['PROJECT_ID']}/{repository.rpartition('/')[2]}"
    admin.plant(host=HOST, path="/v2/*/tags/list", status=429)
    answer = session.get(f"{base}/app/tags/list")
    assert answer.status_code == 429
    assert answer.json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert session.get(f"{base}/app/tags/list").status_code == 404


def test_a_push_that_is_cut_off_leaves_nothing(admin: Admin, repository: str, session: AuthorizedSession) -> None:
    base = f"https://{HOST}/v2/{os.environ['PROJECT_ID']}/{repository.rpartition('/')[2]}/app"
    content = secrets.token_bytes(3 << 20)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    admin.plant(host=HOST, path="/v2/*/blobs/uploads/", verb="POST", cut_after_bytes=1 << 20)
    with pytest.raises(requests.ConnectionError):
        session.post(f"{base}/blobs/uploads/?digest={digest}", data=content)
    assert session.head(f"{base}/blobs/{digest}").status_code == 404
    assert session.post(f"{base}/blobs/uploads/?digest={digest}", data=content).status_code == 201
    # A pull that ends too early is noticed by whoever counts.
    admin.plant(host=HOST, path="/artifacts-downloads/*", cut_after_bytes=1 << 20)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        session.get(f"{base}/blobs/{digest}")
    assert session.get(f"{base}/blobs/{digest}").content == content
    # The answer to a push gets lost; what was pushed is there.
    small = b"small"
    name = f"sha256:{hashlib.sha256(small).hexdigest()}"
    admin.plant(host=HOST, path="/v2/*/blobs/uploads/", cut_after_bytes=len(small))
    with pytest.raises(requests.ConnectionError):
        session.post(f"{base}/blobs/uploads/?digest={name}", data=small)
    assert session.get(f"{base}/blobs/{name}").content == small


@pytest.mark.docker
def test_docker_tries_a_failed_push_again(
    admin: Admin, repository: str, environment: dict[str, str], python_image: str
) -> None:
    reference = f"{os.environ['REGISTRY']}/{os.environ['PROJECT_ID']}/{repository.rpartition('/')[2]}/app:v1"
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    credentials.refresh(google.auth.transport.requests.Request())

    def docker(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = ["docker", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False, input=given)

    login = docker(
        "login", "-u", "oauth2accesstoken", "--password-stdin", os.environ["REGISTRY_HOST"], given=credentials.token
    )
    assert login.returncode == 0, login.stderr
    # Nothing in it, but a config that no other push has.
    made = docker("import", "--change", f"LABEL salt={secrets.token_hex(4)}", "-", reference)
    assert made.returncode == 0, made.stderr
    admin.plant(host=HOST, path="/v2/*/blobs/uploads/", verb="POST", status=503)
    pushed = docker("push", reference)
    docker("rmi", reference)
    assert pushed.returncode == 0, pushed.stderr
    assert admin.waiting() == []


def test_a_call_waits_as_long_as_it_is_told(admin: Admin, repository: str) -> None:
    admin.plant(method="*.repositories.get", delay_seconds=1)
    started = time.monotonic()
    ar.ArtifactRegistryClient(transport="rest").get_repository(name=repository)
    assert 1 <= time.monotonic() - started < 20


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"status": 503, "colour": "red"},
        {"status": 200},
        {"status": "503"},
        {"status": True},
        {"status": 503, "times": 0},
        {"status": 503, "host": 1},
        {"delay_seconds": -1},
        {"delay_seconds": 1e9},
        {"cut_after_bytes": -1},
        {"cut_after_bytes": 1, "status": 503},
    ],
)
def test_a_fault_that_cannot_be_is_refused(admin: Admin, body: Any) -> None:
    answer = admin.ask("POST", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("A fault")
    assert admin.waiting() == []
