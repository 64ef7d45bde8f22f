"""No token, JWT or private key in a log, in the list of requests, in an error, in a command line or in a notebook.

Real flows run through gcloud, docker and Python while every process's command line is watched. Then what they left
behind is searched, for the very secrets that were in use and for anything that looks like one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import google.auth
import pytest
import requests
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import artifactregistry_v1

from cli.world.starter import World
from helpers import access, identity, names, projects, registry, repositories
from helpers.cell import terminal
from helpers.target import Target

ROOT = Path(__file__).parents[2]
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LOOKS_SECRET = re.compile(
    r"ya29\.[\w-]{20,}"
    r"|registry-eyJ[\w-]+"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\\+n|\s)*[A-Za-z0-9+/=]{10,}"
    r'|"privateKeyData": ?"[A-Za-z0-9+/=]{20,}'
)


class CommandLines:
    """The command lines of the processes under some, read again and again while it runs.

    Whatever else runs on the machine is not looked at: another world's shell may well have a token in its line.
    """

    def __init__(self, *roots: int) -> None:
        self.seen: set[str] = set()
        self._ours = set(roots)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if not self._is_ours(folder):
                        continue
                    self.seen.add((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    def _is_ours(self, folder: Path) -> bool:
        """Whether its parent is ours; whoever leaves its parent behind has been seen before."""
        if int(folder.name) not in self._ours:
            # The name in brackets may hold anything; the state and the parent follow it. Source: proc(5).
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent not in self._ours:
                return False
            self._ours.add(int(folder.name))
        return True

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def secrets_in_use(world: World, environment: dict[str, str], more: tuple[str, ...] = ()) -> set[str]:
    """What must be found nowhere."""
    key = json.loads((world.home / "learner-key.json").read_text())
    found = {key["private_key"], (world.home / "admin-token").read_text().strip(), *more}
    # A line of the key is as bad as the whole.
    found |= {line for line in key["private_key"].splitlines() if len(line) > 40 and "PRIVATE" not in line}
    config = Path(environment["DOCKER_CONFIG"]) / "config.json"
    for entry in json.loads(config.read_text() or "{}").get("auths", {}).values():
        if entry.get("auth"):
            found |= {entry["auth"], base64.b64decode(entry["auth"]).decode().partition(":")[2]}
    return {one for one in found if one}


def search(text: str, known: set[str]) -> list[str]:
    """What of it stands in a text, cut short so that the test's own output gives nothing away."""
    return [one[:12] for one in (*known, *LOOKS_SECRET.findall(text)) if one in text]


def access_client(credentials: Any) -> artifactregistry_v1.ArtifactRegistryClient:
    return artifactregistry_v1.ArtifactRegistryClient(transport="rest", credentials=credentials)


def left_behind(world: World) -> str:
    return (world.home / "sandbox.log").read_text() + json.dumps(world.admin("requests"))


@pytest.fixture
def image(in_world: Target) -> Iterator[names.Image]:
    apis = (projects.ARTIFACT_REGISTRY, "iam.googleapis.com", "iamcredentials.googleapis.com")
    projects.enable(names.Project(in_world.project_id), *apis)
    repository = names.Repository(in_world.location, f"r-{secrets.token_hex(4)}")
    repositories.create(repository, labels=in_world.labels)
    yield repository.image("hello")
    repositories.delete(repository)


@pytest.fixture
def ci(image: names.Image, in_world: Target) -> Iterator[access.ServiceAccount]:
    made = access.account(image.repository.project, "ci", secrets.token_hex(4))
    access.create_account(made, in_world.run)
    access.grant(made, access.TOKEN_CREATOR, identity.who_am_i().member)
    yield made
    access.delete_account(made)


def test_the_search_finds_what_it_looks_for() -> None:
    """Else all below would pass for a search that is blind."""
    for text in (
        f"GET /x ya29.sandbox-{secrets.token_urlsafe(32)}",
        "Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJsZWFybmVyIn0.c2ln",
        "registry-eyJzdWIiOiJ4In0.abc",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ",
        '{"privateKeyData": "ewogICJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCI="}',
    ):
        assert search(text, set()), text
        assert search(f"{text} known-secret", {"known-secret"})
    with CommandLines(os.getpid()) as watched:
        subprocess.run(["sleep", "0.05", "--"], check=False, capture_output=True)
        mark = f"mark-{secrets.token_hex(8)}"
        subprocess.run(["bash", "-c", f": {mark}; read -t 0.2 < <(sleep 1)"], check=False, capture_output=True)
    assert any(mark in line for line in watched.seen)


def test_python_s_flows_leave_no_secret(world: World, image: names.Image, ci: access.ServiceAccount) -> None:
    with CommandLines(os.getpid(), world.info.pid) as watched:
        registry.push(image.tag("1"), [{"hello.txt": "hello"}])
        assert repositories.images(image.repository)
        credentials = identity.as_service_account(str(ci))
        credentials.refresh(Request())
        owner, _ = google.auth.default(scopes=[SCOPE])
        with AuthorizedSession(owner) as session:
            made = session.post(f"https://iam.googleapis.com/v1/{ci.resource}/keys", json={}).json()
        with pytest.raises(exceptions.Forbidden) as refused:
            access_client(credentials).get_repository(name=image.repository.resource)
    known = secrets_in_use(world, dict(os.environ), (credentials.token, owner.token, made["privateKeyData"]))
    assert not search(left_behind(world), known)
    assert not search("\n".join(watched.seen), known)
    assert not search(str(refused.value) + repr(credentials), known)
    assert not search(repr(identity.token_state()) + repr(identity.docker_config()), known)


@pytest.mark.gcloud
@pytest.mark.docker
def test_gcloud_s_and_docker_s_flows_leave_no_secret(
    world: World,
    gcloud: Path,
    engine: docker.DockerClient,
    python_image: str,
    image: names.Image,
    ci: access.ServiceAccount,
    in_world: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []
    access.grant(image.repository, access.WRITER, ci.member)
    monkeypatch.setenv("CI", str(ci))
    name = in_world.docker_name(image.tag("1"))
    script = f"""
    gcloud auth print-access-token --impersonate-service-account="$CI" \\
      | docker --config {tmp_path} login --username oauth2accesstoken --password-stdin "$REGISTRY_HOST"
    cat {tmp_path}/config.json
    gcloud auth print-access-token
    gcloud auth print-access-token --impersonate-service-account="$CI"
    gcloud iam service-accounts keys create {tmp_path}/key.json --iam-account="$CI"
    cat {tmp_path}/key.json
    docker tag {python_image} {name}
    docker --config {tmp_path} push {name}
    gcloud artifacts docker images list {image.repository} --impersonate-service-account="$CI"
    docker image rm {name}
    """
    with CommandLines(os.getpid(), world.info.pid) as watched:
        terminal.run(script, write=shown.append)
    key = json.loads((tmp_path / "key.json").read_text())
    auth = json.loads((tmp_path / "config.json").read_text())["auths"][in_world.registry_host]["auth"]
    token = base64.b64decode(auth).decode().partition(":")[2]
    assert token.startswith("ya29.")
    lines = {line for line in key["private_key"].splitlines() if len(line) > 40 and "PRIVATE" not in line}
    known = secrets_in_use(world, dict(os.environ), (auth, token, *lines))
    text = "".join(shown)
    assert text.count("[token]") >= 4
    assert not search(text, known)
    assert not search(left_behind(world), known)
    assert not search("\n".join(watched.seen), known)
    assert any("docker --config" in line for line in watched.seen)
    assert any("print-access-token" in line for line in watched.seen)


def test_a_secret_in_the_wrong_place_is_not_kept(world: World, image: names.Image) -> None:
    """In a path, a query, a body, a user name, a scope, a header of another kind: people paste tokens anywhere."""
    owner, _ = google.auth.default(scopes=[SCOPE])
    owner.refresh(Request())
    token = str(owner.token)
    key = json.loads((world.home / "learner-key.json").read_text())
    bearer = {"Authorization": f"Bearer {token}"}
    api = f"{world.url}/artifactregistry.googleapis.com/v1"
    parent = f"projects/{image.repository.project}/locations/us-central1/repositories"
    answers: list[str] = []

    def ask(method: str, url: str, **options: Any) -> None:
        with requests.Session() as session:
            session.trust_env = False
            answers.append(session.request(method, url, timeout=30, **options).reason)

    ask("GET", f"{api}/{parent}", params={"access_token": token})
    ask("GET", f"{api}/projects/{token}/locations", headers=bearer)
    ask("GET", f"{api}/{parent}/{token}", headers=bearer)
    ask("POST", f"{api}/{parent}?repositoryId={token}", json={"description": token}, headers=bearer)
    ask("POST", f"{api}/{parent}?repositoryId=x", json=key, headers=bearer)
    ask("POST", f"{api}/{parent}?repositoryId=x", data=json.dumps(key, indent=2)[:-3], headers=bearer)
    ask("GET", f"{world.url}/v2/{image}/manifests/{token}", headers=bearer)
    ask("GET", f"{world.url}/v2/token", params={"scope": token}, auth=(token, token))
    ask(
        "GET",
        f"{world.url}/v2/token",
        params={"scope": f"repository:{token}:pull"},
        auth=("_json_key", json.dumps(key)),
    )
    ask("POST", f"{world.url}/v2/token", data={"grant_type": "password", "username": token, "password": token})
    ask("POST", f"{world.url}/oauth2.googleapis.com/token", data={"grant_type": "x", "assertion": token})
    ask("GET", f"{world.url}/oauth2.googleapis.com/tokeninfo", params={"access_token": token})
    ask("GET", f"{world.url}/_sandbox/{token}", headers=bearer)
    ask("GET", f"{world.url}/{token}")
    ask("GET", f"{world.url}/", headers={"Host": token})
    assert len(answers) == 15
    assert not search(left_behind(world), secrets_in_use(world, dict(os.environ), (token,)))


def test_what_is_private_is_readable_for_its_owner_alone(world: World) -> None:
    for name in ("learner-key.json", "admin-token"):
        assert (world.home / name).stat().st_mode & 0o077 == 0, name
    state = [path for path in (world.home / "state").rglob("*") if path.is_file()]
    assert state
    folders_closed = (world.home.stat().st_mode & 0o077) == 0 or (world.home / "state").stat().st_mode & 0o077 == 0
    assert folders_closed or all(path.stat().st_mode & 0o077 == 0 for path in state)


def test_no_stored_notebook_shows_a_secret() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        assert not search(path.read_text(), set()), path.name
