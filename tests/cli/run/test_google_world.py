"""The switch to Google, as far as it can be tested without it: the sandbox stands where Google would."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api_core import exceptions

from cli.run import google_world
from helpers import projects, repositories, target
from helpers.names import Project
from helpers.target import Target


@pytest.fixture
def users_gcloud(tmp_path: Path, in_world: Target, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "users-gcloud"
    (folder / "configurations").mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "configurations" / "config_default").write_text("[core]\nproject = mine\n")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(folder))
    return folder


@pytest.fixture
def environment_on_google(users_gcloud: Path, in_world: Target, tmp_path: Path) -> dict[str, str | None]:
    (tmp_path / "home").mkdir()
    return google_world.prepare(tmp_path / "home", in_world.project_id, "run-1", {"DOCKER_HOST": "unix:///x"}, "base:1")


def test_gcloud_works_on_a_private_copy(
    users_gcloud: Path, environment_on_google: dict[str, str | None], tmp_path: Path
) -> None:
    copy = tmp_path / "home" / "gcloud"
    assert environment_on_google["CLOUDSDK_CONFIG"] == str(copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert not (copy / "logs").exists()
    (copy / "configurations" / "config_default").write_text("[core]\nproject = changed\n")
    assert "mine" in (users_gcloud / "configurations" / "config_default").read_text()


def test_the_projects_number_is_asked_for(environment_on_google: dict[str, str | None], in_world: Target) -> None:
    assert environment_on_google["PROJECT_NUMBER"] == in_world.project_number
    assert environment_on_google["REPOSITORY"] == "ml-images-run-1"


def test_a_project_that_isnt_yours_is_refused(users_gcloud: Path, tmp_path: Path) -> None:
    with pytest.raises(exceptions.Forbidden):
        google_world.prepare(tmp_path, "somebody-elses", "run-1", {}, "")


@pytest.fixture
def on_google(environment_on_google: dict[str, str | None]) -> Iterator[Target]:
    here = target.current(target.apply(environment_on_google, {"PATH": "/bin"}))
    projects.enable(Project(here.project_id), projects.ARTIFACT_REGISTRY)
    yield here
    with contextlib.suppress(exceptions.NotFound):
        repositories.delete(here.repository_name)


def test_a_name_that_exists_stops_the_run(on_google: Target) -> None:
    google_world.refuse_existing(on_google)
    repositories.create(on_google.repository_name)
    with pytest.raises(google_world.NameTaken, match="ml-images-run-1 exists already"):
        google_world.refuse_existing(on_google)
