"""The starter, with the real sandbox and, where it is there, the real gcloud."""

from __future__ import annotations

import configparser
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.world import settings, starter
from cli.world.starter import World, WorldError
from helpers import target
from tests.conditions import until


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A world's folder; gcloud is signed in to the world of this file, which is enough."""
    monkeypatch.setattr(settings, "sign_in", lambda *_: False)
    folder = tmp_path / "world"
    yield folder
    starter.stop(folder)


def test_start_stop_and_start_again_keep_project_and_port(home: Path) -> None:
    first = starter.start(home, project="ml-workbook-abc123", port=0)
    assert starter.status(home).world == first
    assert starter.start(home).info == first.info
    assert first.admin("status")["status"] == "ready"
    assert starter.stop(home)
    assert not starter.stop(home)
    assert starter.status(home).world is None
    second = starter.start(home)
    assert (second.info.project_number, second.info.port) == (first.info.project_number, first.info.port)
    # Kernels and terminals that were open go on: the proxy is part of their environment.
    assert second.info.edge_port == first.info.edge_port
    assert second.info.pid != first.info.pid
    starter.stop(home)
    with socket.create_server(("127.0.0.1", first.info.edge_port)):
        assert starter.start(home).info.edge_port != first.info.edge_port


def test_the_folder_is_private(home: Path) -> None:
    starter.start(home, project="ml-workbook-abc123", port=0)
    for name in ("admin-token", "learner-key.json"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    for name in ("gcloud", "docker", "ca"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o700


def test_a_killed_sandbox_doesnt_block_the_next(home: Path) -> None:
    first = starter.start(home, project="ml-workbook-abc123", port=0)
    os.kill(first.info.pid, signal.SIGKILL)
    until(lambda: starter.status(home).world is None)
    assert "gone" in starter.status(home).detail
    second = starter.start(home)
    assert second.info.project_number == first.info.project_number


def test_a_number_that_another_process_has_now_is_left_alone(home: Path) -> None:
    started = starter.start(home, project="ml-workbook-abc123", port=0)
    text = (home / "sandbox.json").read_text()
    starter.stop(home)
    with subprocess.Popen(["sleep", "60"]) as other:
        (home / "sandbox.json").write_text(text.replace(str(started.info.pid), str(other.pid)))
        assert starter.status(home).world is None
        assert not starter.stop(home)
        assert other.poll() is None
        other.terminate()


def test_a_taken_port_is_gone_round_unless_it_was_asked_for(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(WorldError, match=f"cannot start on port {port}"):
            starter.start(home, project="ml-workbook-abc123", port=port)
        (home / "port").write_text(str(port))
        assert starter.start(home, project="ml-workbook-abc123").info.port != port


def test_a_sandbox_that_dies_shows_the_end_of_its_log(home: Path) -> None:
    home.mkdir()
    (home / "state").write_text("a file where a folder must be")
    with pytest.raises(WorldError, match=r"can't start(?s:.)*sandbox\.log(?s:.)*File exists"):
        starter.start(home, project="ml-workbook-abc123", port=0)
    assert starter.status(home).world is None


def test_reset_keeps_the_learners_work_and_forgets_the_rest(home: Path) -> None:
    first = starter.start(home, project="ml-workbook-abc123", port=0)
    work = home / "lab" / "notebooks" / "00_start_here.ipynb"
    work.parent.mkdir(parents=True)
    work.write_text("mine")
    starter.reset(home)
    assert work.read_text() == "mine"
    assert not (home / "state").exists()
    assert not (home / "learner-key.json").exists()
    assert starter.start(home, project="ml-workbook-abc123", port=0).info.pid != first.info.pid


def test_a_fixed_clock_is_the_sandboxs(home: Path) -> None:
    opened = starter.start(home, project="ml-workbook", port=0, clock="2026-11-02T09:00:00Z")
    assert opened.admin("status")["time"].startswith("2026-11-02T09:0")


def test_gclouds_properties_follow_the_edge_and_keep_the_learners(tmp_path: Path, world: World) -> None:
    settings.write_gcloud(tmp_path, world.info)
    path = tmp_path / "gcloud" / "configurations" / "config_default"
    path.write_text(
        path.read_text().replace(f"project = {world.info.project_id}", "project = mine") + "\n[run]\nregion = here\n"
    )
    settings.write_gcloud(tmp_path, world.info)
    found = configparser.ConfigParser()
    found.read(path)
    assert found["core"]["project"] == "mine"
    assert found["run"]["region"] == "here"
    assert found["proxy"]["port"] == str(world.info.edge_port)


def test_dockers_configuration_finds_the_users_plugins(tmp_path: Path) -> None:
    users = tmp_path / "users"
    (users / "cli-plugins").mkdir(parents=True)
    settings.write_docker(tmp_path, users)
    path = tmp_path / "docker" / "config.json"
    assert json.loads(path.read_text()) == {"cliPluginsExtraDirs": [str(users / "cli-plugins")]}
    path.write_text("{}")
    settings.write_docker(tmp_path, users)
    assert path.read_text() == "{}"


def test_plugins_of_a_docker_configuration_elsewhere_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "cli-plugins").mkdir(parents=True)
    monkeypatch.setenv("DOCKER_CONFIG", str(elsewhere))
    first, second = tmp_path / "first", tmp_path / "second"
    settings.write_docker(first)
    written = (first / "docker" / "config.json").read_text()
    assert json.loads(written) == {"cliPluginsExtraDirs": [str(elsewhere / "cli-plugins")]}
    # In a shell of one world another one is started.
    monkeypatch.setenv("DOCKER_CONFIG", str(first / "docker"))
    settings.write_docker(second)
    assert (second / "docker" / "config.json").read_text() == written


@pytest.mark.gcloud
def test_the_learner_is_signed_in_once(gcloud: Path, world: World, environment: dict[str, str]) -> None:
    listed = subprocess.run(
        [gcloud, "auth", "list", "--format=value(account)"], env=environment, capture_output=True, text=True, check=True
    )
    assert listed.stdout.strip() == world.info.learner
    assert settings.sign_in(world.home, world.info, {}) is False


@pytest.mark.gcloud
def test_gcloud_reaches_the_sandbox_from_an_environment_with_foreign_settings(
    gcloud: Path, world: World, run_id: str
) -> None:
    base = dict(os.environ) | {
        "CLOUDSDK_CORE_PROJECT": "somebody-elses",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "https://x.example/",
    }
    shown = subprocess.run(
        [gcloud, "config", "get", "project"],
        env=target.apply(world.environment({}, run=run_id, base=base), base),
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == world.info.project_id
