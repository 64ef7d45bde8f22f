"""A Python repository through the edge, and the clients that use it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.transport.requests import AuthorizedSession

from tests.sandbox import package_hosting
from tests.sandbox.conftest import ask, grant, learner_with, project
from tests.sandbox.package_hosting import API, create
from tests.sandbox.python_repositories import wheels

HOST = "us-central1-python.pkg.dev"


@dataclass(frozen=True)
class Held(package_hosting.Held):
    """A Python repository and the learner's session."""

    host = HOST

    def upload(
        self,
        name: str,
        version: str,
        content: bytes | None = None,
        file: str = "",
        fields: Mapping[str, str] | None = None,
    ) -> Any:
        """One upload, as twine's form is; fields may be changed, and left out with an empty value."""
        content = wheels.wheel(name, version) if content is None else content
        form = {
            ":action": "file_upload",
            "protocol_version": "1",
            "name": name,
            "version": version,
            "filetype": "bdist_wheel",
            "sha256_digest": hashlib.sha256(content).hexdigest(),
        }
        form = {key: value for key, value in (form | dict(fields or {})).items() if value}
        return self.session.post(
            f"{self.url}/", data=form, files={"content": (file or wheels.wheel_name(name, version), content)}
        )

    def get(self, path: str, **query: Any) -> Any:
        """One call of the API on the repository."""
        return self.session.get(f"{API}/{self.name}/{path}", params=query)


@pytest.fixture
def held(in_world: object) -> Iterator[Held]:
    """A new Python repository."""
    with learner_with("artifactregistry", "iam", "iamcredentials") as session:
        yield Held(create(session), session)


def token_of(session: AuthorizedSession, email: str) -> str:
    """An access token of a service account."""
    account = f"https://iam.googleapis.com/v1/projects/{project()}/serviceAccounts/{email}"
    member = f"serviceAccount:{session.credentials.service_account_email}"
    grant(session, account, "roles/iam.serviceAccountTokenCreator", member)
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    found: str = ask(session, "POST", url, {"scope": ["https://www.googleapis.com/auth/cloud-platform"]})["accessToken"]
    return found


def plain(path: str, token: str = "", verb: str = "GET", **more: Any) -> requests.Response:
    """One request without the learner's credentials, with a token as twine sends it."""
    auth = ("oauth2accesstoken", token) if token else None
    return requests.request(verb, path, auth=auth, timeout=30, allow_redirects=False, **more)


def environment() -> dict[str, str]:
    """The learner's shell, without what the machine's pip would add to it."""
    foreign = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "UV_INDEX", "UV_DEFAULT_INDEX")
    kept = {name: value for name, value in os.environ.items() if name not in (*foreign, "UV_INDEX_URL")}
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}


def run(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the learner's shell."""
    return subprocess.run(
        [str(part) for part in command],
        env=environment() | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def pip(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The environment's own pip, which has Google's keyring beside it."""
    return run(sys.executable, "-m", "pip", *arguments, **more)
