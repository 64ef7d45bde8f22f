"""How builds end, with containers that really run: by a failure, a limit, a cancellation, a crash; then once more."""

from __future__ import annotations

import datetime as dt
import os
import secrets
import signal
from pathlib import Path
from typing import Any

import docker
import google.auth
import pytest
from google.auth.transport.requests import AuthorizedSession

from cli.world import starter as starter
from helpers import target
from tests.sandbox.cloud_build.building import (
    DOCKER,
    RUNNING,
    base,
    bash,
    config,
    finish,
    log,
    look,
    of_build,
    start,
    until,
)
from tests.sandbox.conftest import SCOPES, account, ask, learner_with

# Stops well above the limit of 512 processes, for an engine that holds none.
FORKS = """#!/usr/bin/env python3
import os, signal, sys
for count in range(700):
    try:
        child = os.fork()
    except OSError:
        sys.exit(f"refused after {count}")
    if not child:
        signal.pause()
sys.exit("never refused")
"""

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.usefixtures("found_engine", "python_image")]


def test_a_failing_step_ends_the_build_and_its_siblings(
    learner: AuthorizedSession, builder: str, engine: docker.DockerClient
) -> None:
    build = finish(
        learner,
        config(builder, bash("sleep 300", waitFor=["-"]), bash("exit 7", waitFor=["-"]), bash("echo never")),
    )
    assert build["status"] == "FAILURE"
    assert build["failureInfo"]["type"] == "USER_BUILD_STEP"
    assert build["statusDetail"] == f'build step 1 "{DOCKER}" failed: step exited with non-zero status: 7'
    assert build["steps"][2].get("status") is None
    assert "never" not in log(learner, build["id"])
    assert not of_build(engine, build["id"])


@pytest.mark.parametrize("where", ["step", "build"])
def test_time_is_up(learner: AuthorizedSession, builder: str, engine: docker.DockerClient, where: str) -> None:
    step = bash("sleep 300 & sleep 300")
    asked = config(builder, {**step, "timeout": "2s"}) if where == "step" else config(builder, step, timeout="2s")
    build = finish(learner, asked)
    assert build["status"] == "TIMEOUT"
    assert build["steps"][0]["status"] == "TIMEOUT"
    assert not of_build(engine, build["id"])


def test_a_step_that_forks_meets_its_limit(
    learner: AuthorizedSession, builder: str, engine: docker.DockerClient
) -> None:
    step = {"name": DOCKER, "script": FORKS}
    build = finish(learner, config(builder, step, timeout="60s"))
    assert build["status"] == "FAILURE"
    refused = "refused after" in log(learner, build["id"])
    assert refused == engine.info()["PidsLimit"]
    assert not of_build(engine, build["id"])


@pytest.mark.parametrize("where", ["/workspace", "/tmp"])
def test_a_step_that_fills_the_disk_meets_its_limit(
    learner: AuthorizedSession, builder: str, engine: docker.DockerClient, where: str
) -> None:
    """Sparse files would not count: these are written."""
    fill = f"for i in $(seq 100); do dd if=/dev/zero of={where}/$i bs=1M count=512 status=none; done"
    build = finish(learner, config(builder, bash(fill), timeout="60s"))
    assert build["status"] == "FAILURE"
    assert "The step is ended: it has written" in log(learner, build["id"])
    assert not of_build(engine, build["id"])


def test_a_cancelled_build_has_no_container_once_its_answer_is_there(
    learner: AuthorizedSession, builder: str, engine: docker.DockerClient
) -> None:
    build = start(learner, config(builder, bash("sleep 300")))
    until(learner, build, lambda found: found["steps"][0].get("status") == "WORKING" and of_build(engine, build))
    assert ask(learner, "POST", f"{base()}/builds/{build}:cancel", {})["status"] == "CANCELLED"
    assert not [one for one in of_build(engine, build) if one.status == "running"]
    refused = ask(learner, "POST", f"{base()}/builds/{build}:cancel", {}, 400)
    assert refused["error"]["status"] == "FAILED_PRECONDITION"


def test_a_build_is_run_once_more(learner: AuthorizedSession, builder: str) -> None:
    """retry: the same steps with the same source and substitutions, under an id of its own."""
    step = {**bash("test -e flag || { touch flag; exit 3; }"), "env": ["SAID=${_SAID}"]}
    body = config(builder, step, substitutions={"_SAID": "hello"}, tags=["again"])
    first = finish(learner, body)
    assert first["status"] == "FAILURE"
    asked = ask(learner, "POST", f"{base()}/builds/{first['id']}:retry", {})["metadata"]["build"]
    assert asked["id"] != first["id"]
    second = until(learner, asked["id"], lambda found: found["status"] not in RUNNING)
    # It begins with an empty workspace, so it fails in the same way, and nothing of the first one's end is in it.
    assert (second["status"], second["steps"][0]["exitCode"]) == ("FAILURE", 3)
    assert second["steps"][0]["env"] == first["steps"][0]["env"] == ["SAID=hello"]
    assert (second["tags"], second["substitutions"]) == (["again"], {"_SAID": "hello"})
    assert second["createTime"] > first["finishTime"]
    running = start(learner, config(builder, bash("sleep 60")))
    ask(learner, "POST", f"{base()}/builds/{running}:retry", {}, status=400)
    ask(learner, "POST", f"{base()}/builds/{running}:cancel", {})


def test_six_builds_at_once(learner: AuthorizedSession, builder: str) -> None:
    def one(number: int) -> dict[str, Any]:
        return config(builder, bash(f"test -z $(ls -A); echo {number} > mine; sleep 1; cat mine; ls | wc -l"))

    started = [start(learner, one(number)) for number in range(6)]
    found = [until(learner, build, lambda one: one["status"] not in RUNNING, 120) for build in started]
    assert [build["status"] for build in found] == ["SUCCESS"] * 6
    # Two at a time: whenever a build begins, at most one other has begun and not ended.
    spans = [
        (dt.datetime.fromisoformat(one["startTime"]), dt.datetime.fromisoformat(one["finishTime"])) for one in found
    ]
    assert max(sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans) <= 2
    for number, build in enumerate(started):
        lines = [line.strip() for line in log(learner, build).splitlines()]
        assert str(number) in lines
        assert "1" in lines


def test_after_a_crash_no_build_is_working_for_ever(
    tmp_path: Path, found_engine: object, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = starter.start(tmp_path / "home", project=f"ml-workbook-{secrets.token_hex(3)}", port=0)
    try:
        for name, value in target.apply(opened.environment({}, run="crash"), os.environ).items():
            monkeypatch.setenv(name, value)
        with learner_with("cloudbuild", "iam") as session:
            email = account(session, "roles/cloudbuild.builds.builder")
            build = start(session, config(email, bash("sleep 300")))
            until(session, build, lambda found: of_build(engine, build) and found["status"] == "WORKING")
        os.kill(opened.info.pid, signal.SIGKILL)
        starter.stop(tmp_path / "home")
        opened = starter.start(tmp_path / "home", port=0)
        for name, value in target.apply(opened.environment({}, run="crash"), os.environ).items():
            monkeypatch.setenv(name, value)
        with AuthorizedSession(google.auth.default(scopes=SCOPES)[0]) as session:
            assert look(session, build)["status"] == "INTERNAL_ERROR"
        assert not of_build(engine, build)
    finally:
        starter.stop(tmp_path / "home")
