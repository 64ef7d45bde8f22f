"""The platform of the images: what the engine is asked, what the learner is told, and what docker is handed."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path

import docker
import pytest

from cli.world.starter import World
from machine import engine, platforms
from machine.engine import Engine
from machine.errors import PlatformUnknown
from sandbox.cloud_build import docker_shim


@pytest.fixture
def client(found_engine: Engine) -> docker.DockerClient:
    with closing(engine.client(found_engine)) as opened:
        yield opened


@pytest.fixture
def foreign(client: docker.DockerClient) -> str:
    """The platform of the two that this engine's machine isn't of."""
    native = f"linux/{client.version()['Arch']}"
    return platforms.OTHER if native == platforms.USUAL else platforms.USUAL


@pytest.mark.parametrize("value", ["linux/s390x", "arm64", "windows/amd64"])
def test_an_unknown_platform_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBOOK_PLATFORM", value)
    with pytest.raises(PlatformUnknown, match="Set it to linux/amd64 or linux/arm64, or unset it"):
        platforms.wanted()


@pytest.mark.parametrize("value", ["", " ", "linux/amd64"], ids=["empty", "blank", "usual"])
def test_the_usual_platform_changes_nothing(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBOOK_PLATFORM", value)
    assert platforms.environment(tmp_path / "bin", os.environ["PATH"]) == {}
    assert not (tmp_path / "bin").exists()


@pytest.mark.docker
def test_a_machine_s_own_platform_runs_and_nothing_is_said(
    client: docker.DockerClient, python_image: str, foreign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = platforms.OTHER if foreign == platforms.USUAL else platforms.USUAL
    assert platforms.why_not(client, python_image, native) == ""
    monkeypatch.setenv("WORKBOOK_PLATFORM", native)
    complained: list[str] = []
    platforms.check(client, python_image, print, complained.append)
    assert complained == []


@pytest.mark.docker
def test_a_platform_that_the_engine_does_not_run_is_told_with_the_way_out(
    client: docker.DockerClient, foreign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBOOK_PLATFORM", foreign)
    said: list[str] = []
    # No engine has this image for any platform.
    platforms.check(client, "workbook/no-such-image:1", said.append, said.append)
    assert said[-1].startswith("This machine's engine is for linux/")
    assert f"it does not run {foreign}" in said[-1]
    assert "WORKBOOK_PLATFORM" in said[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "--platform", "linux/amd64", "--tag", "a b", "."],
        ["build", "--quiet", "--platform=linux/amd64", "--tag=a b", "."],
    ],
    ids=["apart", "together"],
)
def test_docker_is_handed_this_machine_s_platform_and_says_so(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "real" / "docker"
    real.parent.mkdir()
    real.write_text("#!/bin/sh\nprintf '<%s>' \"$@\"\n", encoding="utf-8")
    real.chmod(0o755)
    monkeypatch.setenv("WORKBOOK_PLATFORM", "linux/arm64")
    changes = platforms.environment(tmp_path / "bin", f"{real.parent}:{os.environ['PATH']}")
    ran = subprocess.run(["docker", *arguments], env=changes, capture_output=True, text=True, check=True)
    assert ran.stdout == "".join(f"<{one}>" for one in arguments).replace("linux/amd64", "linux/arm64")
    assert ran.stderr == "WORKBOOK_PLATFORM: linux/arm64 instead of linux/amd64, which Cloud Run on Google wants.\n"
    # Asked for in a shell of the sandbox, it is the real one again that it hands on to.
    again = platforms.environment(tmp_path / "bin", changes["PATH"])
    assert again == changes
    ran = subprocess.run(["docker", "ps", "linux/amd64"], env=again, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("<ps><linux/amd64>", "")


def test_the_sandbox_shows_build_steps_the_real_docker(tmp_path: Path) -> None:
    assert platforms.without(tmp_path / "bin", f"{tmp_path}/bin:/usr/bin:/bin") == "/usr/bin:/bin"


@pytest.mark.docker
def test_a_shell_of_the_sandbox_has_it_first_on_the_path(
    world: World, found_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBOOK_PLATFORM", "linux/arm64")
    changes = world.environment(engine.environment(found_engine), run="lab")
    assert str(changes["PATH"]).startswith(f"{world.home}/bin:")
    assert changes["WORKBOOK_PLATFORM"] == "linux/arm64"


def test_a_build_step_is_handed_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_shim, "PLATFORM", "linux/arm64")
    for given in (["build", "--platform", "linux/amd64", "."], ["build", "--platform=linux/amd64", "."]):
        handed = " ".join(docker_shim.rewrite(given))
        assert "linux/arm64" in handed
        assert "linux/amd64" not in handed
    monkeypatch.setattr(docker_shim, "PLATFORM", "")
    assert "--platform=linux/amd64" in docker_shim.rewrite(["build", "--platform=linux/amd64", "."])
