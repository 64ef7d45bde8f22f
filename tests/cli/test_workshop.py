"""The report of `make workshop`: short, to be pasted, and plain about what is missing."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from cli import workshop
from cli.run import report
from machine import engine as machine_engine

PLENTY = 10**11
CHECKED = {
    "kind of engine": "overlay2, classic builder",
    "the engine reaches the sandbox": "yes",
    "gcloud is": "on the PATH",
    "gcloud's beta commands": "yes",
    "gcloud's local-extract": "yes",
    "curl": "yes",
}


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "verdict": "OK",
        "reason": "",
        "seconds": 12.3,
        "notebooks": [{"notebook": "00_start_here", "status": "ok", "cells": 9, "of": 9, "seconds": 3.2}],
        "commands_not_run": {"count": 0, "cells": []},
        "versions": {"python": "3.11.2", "gcloud": "528.0.0", "docker": "28.2.2", "docker engine": "28.2.2"},
    } | changes


def test_a_machine_that_ran_everything_is_ready(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(summary()))
    said, _ = workshop.report(tmp_path, CHECKED)
    assert "- 00_start_here: ok, 9 of 9 cells, 3 s" in said
    assert "- gcloud: 528.0.0" in said
    assert str(Path.home()) not in said
    assert workshop.doubts(summary(), PLENTY, PLENTY, CHECKED) == []


def test_each_doubt_says_what_to_do() -> None:
    failed = workshop.doubts(summary(verdict="FAILED", reason="04, cell 3: no space left."), PLENTY, PLENTY, CHECKED)
    assert failed == ["the run failed: 04, cell 3: no space left."]
    without = {**CHECKED, "gcloud is": "no: run make setup, which downloads it"}
    partial = summary(verdict="PARTIAL", reason="24 commands not run", commands_not_run={"count": 24, "cells": []})
    found = workshop.doubts(partial, 10**9, 10**9, without)
    assert [one.split(":")[0] for one in found] == [
        "gcloud is",
        "24 commands were not run",
        "1.0 GB of memory",
        "1.0 GB of free disk",
    ]
    versions = {**summary()["versions"], "gcloud": ""}
    said = workshop.text(summary(versions=versions), {"system": "Linux"}, found, [])
    assert "- gcloud: missing" in said
    assert said.count("**Not ready yet:**") == 1
    assert all(f"- {one}" in said for one in found)


def test_a_part_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(summary()))
    said, _ = workshop.report(tmp_path, {**CHECKED, "curl": "no: install it"})
    assert "- kind of engine: overlay2, classic builder" in said
    assert "- the engine reaches the sandbox: yes" in said
    assert "- not checked: 01_set_up_the_project, " in said
    assert "- curl: no\n" in said
    assert "- curl: install it" in said
    whole = workshop.text(summary(), CHECKED, [], [])
    assert "not checked" not in whole
    assert whole.endswith("**Ready for the workshop.**")
    assert workshop.text(summary(), CHECKED, [], ["10_leave_nothing_behind"]).endswith("for what was checked.**")


@pytest.mark.docker
def test_every_part_of_this_machine_is_looked_at(found_engine: machine_engine.Engine) -> None:
    found = workshop.parts(print)
    assert set(found) == set(CHECKED)
    assert found["the engine reaches the sandbox"] == "yes"
    store, builder = found["kind of engine"].split(", ")
    assert builder in ("BuildKit", "classic builder")
    assert store != "unknown store"


def test_the_machine_is_looked_at(tmp_path: Path) -> None:
    about = workshop.machine(tmp_path)
    assert set(about) == {"system", "processors", "memory", "free disk"}
    assert workshop.memory() > 10**8


def test_the_command_docker_and_pythons_package_docker_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = report.versions()
    assert found["docker"] == ""
    assert found["docker (Python)"] == metadata.version("docker")
