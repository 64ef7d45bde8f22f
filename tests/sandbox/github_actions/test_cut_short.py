"""A sandbox that is killed while a workflow runs: the run ends with a reason, what waits goes, nothing goes twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import docker
import pytest

from cli.world import starter
from tests.conditions import until
from tests.sandbox.git_hosting import Clone, Host
from tests.sandbox.github_actions.runs import PATH, log_of, run_of, workflow


@pytest.mark.docker
@pytest.mark.usefixtures("python_image")
def test_a_run_that_a_kill_cut_short(host: Host, clone: Callable[..., Clone], engine: docker.DockerClient) -> None:
    repository = host.repository()
    working = clone(repository)
    first = working.commit("Sleep", **{PATH: workflow("{run: 'echo begun; sleep 600'}")})
    working.git("push", "--quiet", "origin", "main")
    runs = f"/repos/{repository}/actions/runs"

    def begun() -> bool:
        found = host.api("GET", f"{runs}?head_sha={first}")["workflow_runs"]
        return bool(found) and "begun" in log_of(host, found[0]).splitlines()

    until(begun)
    second = working.commit("Say", **{PATH: workflow("{run: echo well}")})
    working.git("push", "--quiet", "origin", "main")
    until(lambda: host.api("GET", runs)["total_count"] == 2)
    os.kill(host.world.info.pid, signal.SIGKILL)
    until(lambda: starter.status(host.world.home).world is None)
    host.world = starter.start(host.world.home)
    cut = run_of(host, repository, first)
    assert cut["conclusion"] == "failure"
    assert "The sandbox was stopped while this run was going." in log_of(host, cut)
    went = run_of(host, repository, second)
    assert (went["conclusion"], went["run_number"]) == ("success", 2)
    assert host.api("GET", runs)["total_count"] == 2
    assert log_of(host, went).splitlines().count("well") == 1
    mark = (host.world.home / "state" / "engine-world-id").read_text()
    assert engine.containers.list(all=True, filters={"label": [f"workbook-world={mark}", "workbook-actions"]}) == []
