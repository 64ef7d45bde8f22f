"""`docker` inside a build: which arguments the real command gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.cloud_build import docker_shim

HERE = "localhost:5001/us-central1-docker.pkg.dev/p/r/i:v1"
GOOGLE = "us-central1-docker.pkg.dev/p/r/i:v1"


@pytest.fixture(autouse=True)
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of a step, as `builders.arguments` gives it."""
    monkeypatch.setattr(docker_shim, "REGISTRY", "localhost:5001")
    monkeypatch.setattr(docker_shim, "BUILD", "1234abcd")
    monkeypatch.setattr(docker_shim, "LABELS", ["a=b"])
    monkeypatch.setattr(docker_shim, "NETWORK", "")
    monkeypatch.setattr(docker_shim, "STEP_NETWORK", "cloudbuild-1234abcd")
    monkeypatch.setattr(docker_shim, "NAMES", tmp_path / "names")


CASES = [
    ("version", "version"),
    (f"push {GOOGLE}", f"push {HERE}"),
    (f"pull {GOOGLE}", f"pull {HERE}"),
    (f"push {HERE}", f"push {HERE}"),
    (f"tag {GOOGLE} {GOOGLE}2", f"tag {HERE} {HERE}2"),
    ("pull docker.us-central1.rep.pkg.dev/p/r/i", "pull localhost:5001/docker.us-central1.rep.pkg.dev/p/r/i"),
    ("pull example.com/us-central1-docker.pkg.dev/x", "pull example.com/us-central1-docker.pkg.dev/x"),
    ("login us-central1-docker.pkg.dev", "login localhost:5001"),
    (f"build -t {GOOGLE} .", f"build --tag {GOOGLE} -t {HERE} ."),
    (f"build --tag={GOOGLE} .", f"build --tag {GOOGLE} --tag={HERE} ."),
    ("build -t plain .", "build -t plain ."),
    (f"build --build-arg BASE={GOOGLE} .", f"build --build-arg BASE={HERE} ."),
    ("build --network cloudbuild .", "build --network cloudbuild-1234abcd ."),
    (f"run {GOOGLE}", f"run --label a=b {HERE}"),
    ("run --name c x", "run --label a=b --name c-1234abcd x"),
    (
        "run --name c --network cloudbuild x",
        "run --label a=b --network-alias c --name c-1234abcd --network cloudbuild-1234abcd x",
    ),
    ("run --network=cloudbuild x", "run --label a=b --network=cloudbuild-1234abcd x"),
    ("--config /c run x", "--config /c run --label a=b x"),
    ("exec c ls", "exec c ls"),
]


@pytest.mark.parametrize(("given", "expected"), CASES)
def test_rewritten(given: str, expected: str) -> None:
    assert docker_shim.rewrite(given.split()) == expected.split()


def test_a_container_keeps_the_name_that_the_build_gave_it() -> None:
    docker_shim.rewrite(["run", "--name=c", "x"])
    assert docker_shim.rewrite(["exec", "c", "ls", "c"]) == ["exec", "c-1234abcd", "ls", "c"]
    assert docker_shim.rewrite(["cp", "c:/a", "/b"]) == ["cp", "c-1234abcd:/a", "/b"]
    assert docker_shim.rewrite(["rm", "-f", "other"]) == ["rm", "-f", "other"]


def test_an_engine_without_a_bridge_builds_on_the_machine_s_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_shim, "NETWORK", "host")
    assert docker_shim.rewrite(["build", "--network", "cloudbuild", "."]) == ["build", "--network", "host", "."]
    assert docker_shim.rewrite(["build", "--network=x", "."]) == ["build", "--network", "host", "."]
