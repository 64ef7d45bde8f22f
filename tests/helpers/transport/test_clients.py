"""What helpers keep for their calls is made anew when it has to be: after a restart of the sandbox, and a reset."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.world import starter as starter
from helpers import projects, repositories, target
from helpers.names import Project, Repository
from helpers.transport import clients


def enter(home: Path, monkeypatch: pytest.MonkeyPatch) -> target.Target:
    """Start the world in `home` and put this process into it."""
    opened = starter.start(home, project="ml-workbook-clients", port=None if (home / "port").exists() else 0)
    for name, value in target.apply(opened.environment({}, run="clients"), os.environ).items():
        monkeypatch.setenv(name, value)
    return target.current()


def used(here: target.Target) -> object:
    """Use each of them once; gives the credentials."""
    projects.enable(Project(here.project_id), projects.ARTIFACT_REGISTRY)
    repository = Repository(here.location, "kept")
    repositories.create(repository)
    repositories.delete(repository)
    return clients.default_credentials()


def test_calls_go_on_after_a_restart_and_after_a_reset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    try:
        here = enter(home, monkeypatch)
        first = used(here)
        assert used(here) is first
        assert clients.session() is clients.session()
        starter.stop(home)
        # The kept connections are dead; the key is the same.
        assert used(enter(home, monkeypatch)) is first
        starter.reset(home)
        # Another key in the same file: with the old one nobody would be let in.
        assert used(enter(home, monkeypatch)) is not first
    finally:
        starter.stop(home)
