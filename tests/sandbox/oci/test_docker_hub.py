"""Find the address of Docker Hub for remote repositories: the mirror or the index of this machine's engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox import containers
from sandbox.artifact_registry.upstream_calls import Unreachable
from sandbox.oci import remotes
from sandbox.state.clock import Clock
from sandbox.state.world import World

INDEX = "https://index.example.com/v1/"


@pytest.mark.parametrize(
    ("info", "address"),
    [
        ({"IndexServerAddress": INDEX, "RegistryConfig": {"Mirrors": []}}, "https://index.example.com"),
        ({"IndexServerAddress": INDEX, "RegistryConfig": {"Mirrors": ["http://mirror:5000/"]}}, "http://mirror:5000"),
        ({"IndexServerAddress": INDEX, "RegistryConfig": None}, "https://index.example.com"),
    ],
    ids=["the index", "a mirror", "no settings"],
)
def test_docker_hub_is_the_engines_mirror_or_index(
    info: dict[str, Any], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "call", lambda *_, **__: json.dumps(info))
    world = World(tmp_path / "state", Clock())
    try:
        assert remotes._docker_hub(world) == address
    finally:
        world.close()


def test_docker_hub_without_an_engine_is_unreachable_though_docker_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "call", lambda *_, **__: json.dumps({"ServerErrors": ["Cannot connect"]}))
    world = World(tmp_path / "state", Clock())
    try:
        with pytest.raises(Unreachable, match="no Docker Engine answers"):
            remotes._docker_hub(world)
    finally:
        world.close()


def test_docker_hub_without_an_engine_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    world = World(tmp_path / "state", Clock())
    try:
        with pytest.raises(Unreachable, match="no Docker Engine answers"):
            remotes._docker_hub(world)
    finally:
        world.close()
