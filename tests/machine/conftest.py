"""Engines for the tests of `machine`: a private one with a home of its own, and the one that answers here."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from machine import dockerd, engine, private_engine


@pytest.fixture
def engine_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home for a private engine, with no other engine to be found; what was started there is stopped at the end."""
    if os.geteuid() != 0 or dockerd.program() is None:
        pytest.skip("a private engine needs root and dockerd")
    home = tmp_path / "engine"
    monkeypatch.setenv("WORKBOOK_ENGINE_HOME", str(home))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(engine, "DEFAULT_HOST", f"unix://{tmp_path}/nobody.sock")
    yield home
    # with the environment of this home, whatever the test made of it
    monkeypatch.setenv("WORKBOOK_ENGINE_HOME", str(home))
    private_engine.stop()
    shutil.rmtree(Path(private_engine.host().removeprefix("unix://")).parent, ignore_errors=True)


@pytest.fixture(scope="session")
def client(found_engine: engine.Engine) -> Iterator[docker.DockerClient]:
    """A client of the engine that answers here."""
    with contextlib.closing(engine.client(found_engine)) as connection:
        yield connection
