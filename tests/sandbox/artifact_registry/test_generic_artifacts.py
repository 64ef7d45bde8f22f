"""Upload and download generic artifacts with gcloud, and refuse requests that gcloud would not send."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.auth.transport.requests import AuthorizedSession

from tests.sandbox.conftest import account, learner_with, project
from tests.sandbox.package_hosting import create
from tests.sandbox.python_repositories.conftest import plain, run, token_of

API = "https://artifactregistry.googleapis.com"


@pytest.fixture
def session(in_world: object) -> Any:
    with learner_with("artifactregistry", "iam", "iamcredentials") as opened:
        yield opened


@pytest.fixture
def repository(session: AuthorizedSession) -> str:
    """Create a generic repository, and return its id."""
    return create(session, "GENERIC")


def resource(repository: str) -> str:
    return f"projects/{project()}/locations/us-central1/repositories/{repository}"


def upload(session: AuthorizedSession, repository: str, media: bytes = b"weights", **change: str) -> Any:
    about = {"packageId": "weights", "versionId": "1.0", "filename": "model.bin"} | change
    described = b"--b\r\nContent-Type: application/json\r\n\r\n" + json.dumps(about).encode()
    body = described + b"\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n" + media + b"\r\n--b--"
    return session.post(
        f"{API}/upload/v1/{resource(repository)}/genericArtifacts:create?uploadType=multipart",
        data=body,
        headers={"Content-Type": "multipart/related; boundary=b"},
    )


@pytest.mark.gcloud
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="needs gcloud on the PATH")
def test_gcloud_uploads_and_downloads(session: AuthorizedSession, repository: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    contents = {"empty.bin": b"", "small.bin": b"x" * 100, "in_pieces.bin": bytes(range(256)) * (11 << 12)}
    for name, content in contents.items():
        (tmp_path / "in" / name).write_bytes(content)
    where = (f"--project={project()}", "--location=us-central1", f"--repository={repository}")
    which = ("--package=weights", "--version=1.0")
    upload = ("gcloud", "artifacts", "generic", "upload", *where, *which, "--destination-path=a/b")
    pieces = {"CLOUDSDK_STORAGE_UPLOAD_CHUNK_SIZE": str(4 << 20)}
    sent = run(*upload, f"--source-directory={tmp_path / 'in'}", **pieces)
    assert sent.returncode == 0, sent.stderr
    again = run(*upload, f"--source={tmp_path / 'in' / 'in_pieces.bin'}", **pieces)
    assert again.returncode != 0
    assert "already exists" in again.stderr
    got = run("gcloud", "artifacts", "generic", "download", *where, *which, f"--destination={tmp_path / 'out'}")
    assert got.returncode == 0, got.stderr
    assert {name: (tmp_path / "out" / "a" / "b" / name).read_bytes() for name in contents} == contents
    listed = session.get(f"{API}/v1/{resource(repository)}/files").json()["files"]
    files = f"{resource(repository)}/files/weights:1.0:a%2Fb%2F"
    assert [one["name"] for one in listed] == sorted(f"{files}{name}" for name in contents)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"packageId": "../x"}, "Invalid package_id"),
        ({"packageId": ""}, "Invalid package_id"),
        ({"versionId": "latest"}, "Invalid version_id"),
        ({"versionId": "UPPER"}, "Invalid version_id"),
        ({"filename": "../../etc/passwd"}, "Invalid filename"),
        ({"filename": "a//b"}, "Invalid filename"),
        ({"filename": "a/./b"}, "Invalid filename"),
        ({"colour": "red"}, "Unknown name"),
    ],
    ids=lambda value: "-".join(map(str, value.items())) if isinstance(value, dict) else "",
)
def test_invalid_name_is_refused(
    session: AuthorizedSession, repository: str, change: dict[str, str], words: str
) -> None:
    answer = upload(session, repository, **change)
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (400, True), answer.text
    assert session.get(f"{API}/v1/{resource(repository)}/files").json() == {}


def test_upload_requires_permission_and_a_generic_repository(session: AuthorizedSession, repository: str) -> None:
    stranger = token_of(session, account(session))
    url = f"{API}/upload/v1/{resource(repository)}/genericArtifacts:create?uploadType=multipart"
    assert plain(url, verb="POST").status_code == 401
    with AuthorizedSession(_Token(stranger)) as other:
        assert upload(other, repository).status_code == 403
    other_format = create(session, "PYTHON")
    assert upload(session, other_format).status_code == 400
    answer = upload(session, repository)
    assert answer.status_code == 200, answer.text
    name = answer.json()["operation"]["name"]
    done = session.get(f"{API}/v1/{name}").json()
    assert done["response"]["name"] == f"{resource(repository)}/genericArtifacts/weights:1.0"


class _Token:
    """Credentials that consist of one token."""

    universe_domain = "googleapis.com"

    def __init__(self, token: str) -> None:
        self.token = token

    def before_request(self, request: Any, method: str, url: str, headers: dict[str, str]) -> None:
        headers["authorization"] = f"Bearer {self.token}"
