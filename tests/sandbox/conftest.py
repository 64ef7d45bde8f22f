"""What tests of the sandbox's APIs share: the learner's session, one call, an account with roles."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth
import pytest
import requests
from google.auth.transport.requests import AuthorizedSession

from cli.world.starter import World
from helpers import target
from tests.sandbox import in_process
from tests.sandbox.git_hosting import Clone, Host, numbers
from tests.sandbox.in_process import Learner

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


def project() -> str:
    """The id of the world's project."""
    return os.environ["PROJECT_ID"]


def ask(session: requests.Session, verb: str, url: str, body: Any = None, status: int = 200) -> dict[str, Any]:
    """The JSON of one call, which must be answered with `status`."""
    answer = session.request(verb, url, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def done(session: requests.Session, host: str, operation: dict[str, Any], version: str = "v1") -> dict[str, Any]:
    """The operation of an answer, at its first poll: only then it is done, as on Google."""
    assert "done" not in operation
    assert "response" not in operation
    polled = ask(session, "GET", f"https://{host}/{version}/{operation['name']}")
    assert polled["done"] is True
    return polled


_sessions: dict[str, AuthorizedSession] = {}


@pytest.fixture(scope="module", autouse=True)
def sessions_closed() -> Iterator[None]:
    """Close what `_learners_session` opened for a file."""
    yield
    while _sessions:
        _sessions.popitem()[1].close()


def _learners_session() -> AuthorizedSession:
    """The learner's session in this world, one for a file: its token and its TLS connections cost more than a call."""
    key = Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_text(encoding="utf-8")
    if key not in _sessions:
        credentials, _ = google.auth.default(scopes=SCOPES)
        _sessions[key] = AuthorizedSession(credentials)
    return _sessions[key]


@pytest.fixture
def session(in_world: target.Target) -> AuthorizedSession:
    """The learner's session."""
    return _learners_session()


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learner]:
    """The learner of a world in this process, without a socket; one for each file."""
    with in_process.signed_in(tmp_path_factory.mktemp("in-process")) as found:
        yield found


@contextlib.contextmanager
def learner_with(*services: str) -> Iterator[AuthorizedSession]:
    """The learner's session, in a project that has these APIs: `run`, `iam`."""
    session = _learners_session()
    url = f"https://serviceusage.googleapis.com/v1/projects/{project()}/services:batchEnable"
    ask(session, "POST", url, {"serviceIds": [f"{name}.googleapis.com" for name in services]})
    yield session


def projects_url() -> str:
    """The project in Resource Manager."""
    return f"https://cloudresourcemanager.googleapis.com/v1/projects/{project()}"


def grant(session: AuthorizedSession, url: str, role: str, *members: str) -> None:
    """Add a binding to the policy of what stands at `url`, where the policy is read with POST."""
    policy = ask(session, "POST", f"{url}:getIamPolicy", {})
    policy.setdefault("bindings", []).append({"role": role, "members": list(members)})
    ask(session, "POST", f"{url}:setIamPolicy", {"policy": policy})


def account(session: AuthorizedSession, *roles: str) -> str:
    """The address of a new service account with roles on the project."""
    url = f"https://iam.googleapis.com/v1/projects/{project()}/serviceAccounts"
    email: str = ask(session, "POST", url, {"accountId": f"holder-{secrets.token_hex(4)}"})["email"]
    for role in roles:
        grant(session, projects_url(), role, f"serviceAccount:{email}")
    return email


@pytest.fixture
def host(world: World, environment: dict[str, str], tmp_path: Path) -> Host:
    """The Git host of this file's world."""
    if shutil.which("git") is None:
        pytest.skip("git isn't on the PATH")
    # Whatever this machine's own git is set to stays out of it.
    return Host(world, environment | {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"})


@pytest.fixture
def clone(host: Host, tmp_path: Path) -> Callable[..., Clone]:
    """Make a working copy whose `origin` is a repository on github.com."""

    def make(repository: str, *, login: str = "example.com") -> Clone:
        folder = tmp_path / f"clone-{next(numbers)}"
        folder.mkdir()
        who = {"GIT_AUTHOR_NAME": login, "GIT_AUTHOR_EMAIL": f"{login}@example.com"}
        who |= {"GIT_COMMITTER_NAME": login, "GIT_COMMITTER_EMAIL": f"{login}@example.com"}
        made = Clone(repository, folder, host.environment | who | {"GIT_TERMINAL_PROMPT": "0"})
        made.git("init", "--quiet", "--initial-branch=main")
        url = f"https://github.com/{repository}.git"
        if login != "example.com":
            address = host.world.url.removeprefix("http://")
            url = f"http://{login}:{host.token(login)}@{address}/github.com/{repository}.git"
        made.git("remote", "add", "origin", url)
        return made

    return make
