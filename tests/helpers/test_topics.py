"""The topics against the real sandbox and the real engine: projects, repositories, identity, images, sweep."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests
from google.api_core import exceptions

from helpers import identity, images, names, projects, repositories, sweep, workbook
from helpers.images import BuildFailed, TransferRefused
from helpers.target import Target

DOCKERFILE = """ARG PYTHON_IMAGE
FROM $PYTHON_IMAGE
RUN echo built > /built
COPY server.py /server.py
USER 1000
CMD ["python3", "/server.py"]
"""
SERVER = """import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/health", "/", "/weights") else 404)
        self.end_headers()
        self.wfile.write(open("/opt/model/iris.bin", "rb").read() if self.path == "/weights" else b"hello")
port = os.environ.get("AIP_HTTP_PORT") or os.environ["PORT"]
http.server.ThreadingHTTPServer(("", int(port)), Handler).serve_forever()
"""


@pytest.fixture
def repository(in_world: Target) -> Iterator[names.Repository]:
    projects.enable(names.Project(in_world.project_id), projects.ARTIFACT_REGISTRY)
    repository = in_world.repository_name
    if not repositories.exists(repository):
        repositories.create(repository, labels=in_world.labels)
    yield repository
    with contextlib.suppress(exceptions.NotFound):
        repositories.delete(repository)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "server.py").write_text(SERVER)
    return tmp_path


def test_enable_gives_what_wasnt_enabled_before(in_world: Target) -> None:
    project = names.Project(in_world.project_id)
    assert not projects.is_enabled(project, "cloudbuild.googleapis.com")
    assert projects.enable(project, "cloudbuild.googleapis.com", "storage.googleapis.com") == (
        "cloudbuild.googleapis.com",
    )
    assert projects.is_enabled(project, "cloudbuild.googleapis.com")
    assert projects.enable(project, "cloudbuild.googleapis.com") == ()


def test_describe_gives_the_projects_number(in_world: Target) -> None:
    found = projects.describe(names.Project(in_world.project_id))
    assert found.number == in_world.project_number
    assert found.project.id == in_world.project_id


def test_a_project_that_isnt_there_is_refused(in_world: Target) -> None:
    with pytest.raises(exceptions.Forbidden):
        projects.describe(names.Project("no-such-project"))


def test_a_repository_from_creation_to_deletion(repository: names.Repository, in_world: Target) -> None:
    other = names.Repository(repository.location, "other-images")
    created = repositories.create(other, description="Another", labels=in_world.labels, immutable_tags=True)
    assert created.docker_config.immutable_tags
    assert repositories.describe(other).description == "Another"
    with pytest.raises(exceptions.Conflict):
        repositories.create(other)
    assert {names.Repository.parse(one.name).id for one in repositories.list_in(other.location)} >= {
        other.id,
        repository.id,
    }
    repositories.delete(other)
    assert not repositories.exists(other)
    assert repositories.images(repository) == ()


def test_who_acts_is_the_learner_and_no_token_is_shown(in_world: Target) -> None:
    who = identity.who_am_i()
    assert who.email.startswith("learner@")
    state = identity.token_state()
    assert state.present
    assert state.expires is not None
    assert "ya29" not in repr(state)


def test_signed_in_reads_dockers_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert not identity.signed_in("h:1")
    content = {"auths": {"h:1": {"auth": "dTpw"}, "h:2": {}, "h:3": {"auth": "%%"}}, "credHelpers": {"h:4": "gcloud"}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert [identity.signed_in(f"h:{number}") for number in range(1, 6)] == [True, False, False, True, False]
    assert "dTpw" not in repr(identity.docker_config())


@pytest.mark.docker
def test_a_refused_sign_in_says_why(engine: docker.DockerClient, in_world: Target) -> None:
    with pytest.raises(identity.SignInFailed, match="docker login localhost:1"):
        identity.sign_in("localhost:1")


@pytest.mark.docker
def test_build_push_list_pull_run(
    engine: docker.DockerClient,
    python_image: str,
    repository: names.Repository,
    in_world: Target,
    context: Path,
) -> None:
    image = repository.image("team/ml-predictor")
    first = image.tag("v1")
    images.build(first, context=context, build_args={"PYTHON_IMAGE": python_image})
    assert engine.images.get(str(first)).id == engine.images.get(in_world.docker_name(first)).id
    assert images.layers(first)[-1].made_by.startswith("COPY")

    identity.sign_in()
    assert identity.signed_in()
    pushed = images.push(first)
    assert pushed.sent > 0
    images.tag(first, image.tag("latest"))
    assert images.push(image.tag("latest")).sent == 0

    (stored,) = repositories.images(repository)
    assert stored.image == pushed.digest
    assert stored.tags == ("latest", "v1")

    sweep.remove(sweep.find_local(in_world))
    assert images.pull(pushed.digest) == pushed.digest
    service = images.run(pushed.digest)
    try:
        assert requests.get(f"{service.url}/", timeout=10).text == "hello"
        kinds = {one.kind for one in sweep.find(in_world)}
        assert kinds == {"container", "image", "repository"}
    finally:
        images.stop(service)
        images.stop(service)
    with pytest.raises(TransferRefused, match="v9"):
        images.pull(image.tag("v9"))

    # Weights from outside the image, and a port in the variable of whoever runs it.
    (context / "weights").write_bytes(b"\x00\x01")
    files = {"/opt/model/iris.bin": context / "weights"}
    with_weights = images.run(pushed.digest, files=files, port="AIP_HTTP_PORT")
    try:
        assert requests.get(f"{with_weights.url}/weights", timeout=10).content == b"\x00\x01"
    finally:
        images.stop(with_weights)
    assert images.content(pushed.digest, "/server.py") == (context / "server.py").read_bytes()
    assert images.content(pushed.digest, "/weights/none.bin") is None
    assert not engine.containers.list(all=True, filters={"label": f"workbook-run={in_world.run}"})

    removed = sweep.remove(sweep.find(in_world))
    assert {one.kind for one in removed} == {"image", "repository"}
    assert sweep.find(in_world) == ()


@pytest.mark.docker
def test_a_failing_build_shows_the_engines_words(
    engine: docker.DockerClient, python_image: str, in_world: Target, context: Path
) -> None:
    (context / "Dockerfile").write_text("ARG PYTHON_IMAGE\nFROM $PYTHON_IMAGE\nRUN echo told you; exit 7\n")
    tag = in_world.repository_name.image("broken").tag("v1")
    with pytest.raises(BuildFailed, match=r"told you(?s:.)*returned a non-zero code: 7"):
        images.build(tag, context=context, build_args={"PYTHON_IMAGE": python_image})


@pytest.mark.docker
def test_an_unknown_repository_refuses_the_push(
    engine: docker.DockerClient, python_image: str, in_world: Target
) -> None:
    tag = names.Repository(in_world.location, "no-such-repository").image("x").tag("v1")
    identity.sign_in()
    images.retag(engine, python_image, in_world.docker_name(tag))
    try:
        with pytest.raises(TransferRefused, match="no-such-repository"):
            images.push(tag)
    finally:
        engine.images.remove(in_world.docker_name(tag), noprune=True)


@pytest.mark.docker
def test_sweep_leaves_what_others_made(engine: docker.DockerClient, python_image: str, in_world: Target) -> None:
    other = "us-central1-docker.pkg.dev/somebody-elses/ml-images/x:v1"
    images.retag(engine, python_image, other)
    try:
        assert other not in {one.name for one in sweep.find_local(in_world)}
    finally:
        engine.images.remove(other, noprune=True)


def test_begin_prints_the_card(
    repository: names.Repository,
    in_world: Target,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    workbook.begin(2)
    assert capsys.readouterr().out.splitlines()[-1].startswith("Done     0 of 2 exercises here, 0 of ")
    # A run's card is always the same.
    monkeypatch.setenv("WORKBOOK_JOURNAL", str(tmp_path / "journal.jsonl"))
    found = workbook.begin(2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "Target   sandbox on this machine; nothing is billed",
        f"Project  {in_world.project_id} (number {in_world.project_number})",
        "Region   us-central1",
    ]
    assert found.repository == repository
    assert str(found.image) == f"{repository}/ml-predictor"


def test_begin_says_what_is_missing(repository: names.Repository, in_world: Target) -> None:
    repositories.delete(repository)
    with pytest.raises(workbook.NotReady, match=r"ml-images isn't there\. Run notebook 02"):
        workbook.begin(3)
