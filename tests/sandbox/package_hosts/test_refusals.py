"""What each format answers to a wrong token, without a right, to a name that isn't there and to a version that is.

Sources: `Requested entity already exists.` and its 400 for Python are quoted by users of twine; npm calls 403 and 409
at a publication "previously published"; 401 with a challenge is what makes pip, uv and npm ask for a credential. The
codes of the other cells are inferred (docs/fidelity.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from sandbox.iam import tokens
from sandbox.state import projects
from tests.sandbox.in_process import Learner
from tests.sandbox.package_hosts.conftest import Repository, create
from tests.sandbox.package_hosts.kinds import KINDS, MAVEN, NPM, PYTHON, Kind

DENIED = "Permission 'artifactregistry.repositories.{}Artifacts' denied on resource '{}' (or it may not exist)."
by_kind = {kind.format: kind for kind in KINDS}
each_format = pytest.mark.parametrize("kind", [*by_kind, "GENERIC"])


@dataclass
class Client:
    """Who asks: requests of one format with whatever stands in Authorization."""

    learner: Learner
    authorization: str

    def ask(self, verb: str, url: str, **more: Any) -> Any:
        headers = {"Authorization": self.authorization} | more.pop("headers", {})
        return self.learner.session.request(verb, url, headers=headers, **more)

    def read(self, repository: Repository, version: str = "1.0.0", package: str = "model") -> Any:
        """One file of a version."""
        if repository.format == "GENERIC":
            api = f"https://artifactregistry.googleapis.com/v1/{repository.name}"
            return self.ask("GET", f"{api}/files/{package}:{version}:model.bin:download?alt=media")
        file = by_kind[repository.format].file.format(version)
        return self.ask("GET", f"{repository.url}/{file.replace('model', package, 1) if package != 'model' else file}")

    def write(self, repository: Repository, version: str = "1.0.0", *, more: str = "") -> Any:
        """One upload; `more` changes the bytes of the file."""
        if repository.format == "GENERIC":
            return self._write_generic(repository, version, more)
        kind, sent = by_kind[repository.format], _Recorder()
        kind.put(Repository(sent, repository.format, repository.id), version)  # type: ignore[arg-type]
        verb, _, options = sent.requests[0]
        path = sent.requests[0][1].rpartition(f"/{repository.id}")[2]
        return self.ask(verb, f"{repository.url}{path}", **(options | ({"data": more.encode()} if more else {})))

    def _write_generic(self, repository: Repository, version: str, more: str) -> Any:
        about = {"packageId": "model", "versionId": version, "filename": "model.bin"}
        body = "\r\n".join(
            f"--cut\r\nContent-Type: {kind}\r\n\r\n{content}"
            for kind, content in (("application/json", json.dumps(about)), ("application/octet-stream", f"x{more}"))
        )
        api = f"https://artifactregistry.googleapis.com/upload/v1/{repository.name}/genericArtifacts:create"
        headers = {"Content-Type": "multipart/related; boundary=cut"}
        return self.ask("POST", f"{api}?uploadType=multipart", data=f"{body}\r\n--cut--\r\n", headers=headers)


class _Recorder:
    """In a learner's place: keeps what would have been sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.session = self
        self.project = "recorded"
        self.status_code = 0

    def put(self, url: str, **options: Any) -> _Recorder:
        self.requests.append(("PUT", url, options))
        return self

    def post(self, url: str, **options: Any) -> _Recorder:
        self.requests.append(("POST", url, options))
        return self


@pytest.fixture(scope="module")
def owner(learner: Learner) -> Client:
    """The learner."""
    return Client(learner, learner.session.headers["Authorization"])


@pytest.fixture(scope="module")
def stranger(learner: Learner) -> Client:
    """An account without any right."""
    with learner.world.writing() as rows:
        email = projects.add_service_account(rows, learner.world, learner.project, "stranger", "Stranger")
    return Client(learner, f"Bearer {tokens.mint(learner.world, f'serviceAccount:{email}')}")


@each_format
@pytest.mark.parametrize("authorization", ["", "Bearer not-a-token"], ids=["without", "wrong"])
def test_a_token_that_is_none(learner: Learner, owner: Client, kind: str, authorization: str) -> None:
    made = create(learner, kind)
    assert owner.write(made).status_code in (200, 201)
    for answer in (Client(learner, authorization).read(made), Client(learner, authorization).write(made, "2.0.0")):
        assert answer.status_code == 401, answer.text
        assert "WWW-Authenticate" in answer.headers
    assert owner.read(made, "2.0.0").status_code == 404


@each_format
def test_without_the_right(learner: Learner, owner: Client, stranger: Client, kind: str) -> None:
    made = create(learner, kind)
    assert owner.write(made).status_code in (200, 201)
    for verb, answer in (("download", stranger.read(made)), ("upload", stranger.write(made, "2.0.0"))):
        assert answer.status_code == 403, answer.text
        if kind != "GENERIC":
            assert DENIED.format(verb, made.name) in answer.text
    assert owner.read(made, "2.0.0").status_code == 404


@each_format
def test_a_name_that_does_not_exist(learner: Learner, owner: Client, stranger: Client, kind: str) -> None:
    made = create(learner, kind)
    assert owner.write(made).status_code in (200, 201)
    assert owner.read(made, "9.9.9").status_code == 404
    assert owner.read(made, package="nothing").status_code == 404
    gone = Repository(learner, kind, "nothing")
    assert [owner.read(gone).status_code, owner.write(gone).status_code] == [404, 404]
    # Who has no right is not told whether there is one.
    assert [stranger.read(gone).status_code, stranger.write(gone).status_code] == [403, 403]
    of_another = create(learner, "DOCKER")
    other = Repository(learner, kind, of_another.id)
    assert owner.write(other).status_code == (400 if kind == "GENERIC" else 404)


@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [
        (PYTHON, 400, "Requested entity already exists."),
        (NPM, 409, "a version never changes"),
        (MAVEN, 409, "a released file never changes"),
    ],
    ids=["PYTHON", "NPM", "MAVEN"],
)
def test_a_version_that_exists(learner: Learner, owner: Client, kind: Kind, status: int, says: str) -> None:
    made = create(learner, kind.format)
    assert owner.write(made).status_code in (200, 201)
    again = owner.write(made, more="other bytes" if kind is MAVEN else "")
    assert (again.status_code, says in again.text) == (status, True), again.text
    assert owner.read(made).content == kind.content("1.0.0")


def test_a_generic_file_that_exists(learner: Learner, owner: Client) -> None:
    made = create(learner, "GENERIC")
    assert owner.write(made).status_code == 200
    again = owner.write(made, more="other bytes")
    name = again.json()["operation"]["name"]
    polled = learner.ask("GET", f"https://artifactregistry.googleapis.com/v1/{name}")
    assert (polled["error"]["code"], "already exists" in polled["error"]["message"]) == (6, True)
    assert owner.read(made).content == b"x"
