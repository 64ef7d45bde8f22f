"""The report of `make workshop`: short, to be pasted, and plain about what is missing."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from cli import workshop
from cli.run import report

PLENTY = 10**11


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "verdict": "OK",
        "seconds": 12.3,
        "notebooks": [{"notebook": "00_start_here", "status": "ok", "cells": 9, "of": 9, "seconds": 3.2}],
        "versions": {"python": "3.11.2", "gcloud": "528.0.0", "docker": "28.2.2", "docker engine": "28.2.2"},
    } | changes


def test_a_machine_that_ran_everything_is_ready(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(summary()))
    said, _ = workshop.report(tmp_path)
    assert "- 00_start_here: ok, 9 of 9 cells, 3 s" in said
    assert "- gcloud: 528.0.0" in said
    assert str(Path.home()) not in said
    assert workshop.doubts(summary(), PLENTY, PLENTY) == []


def test_each_doubt_says_what_to_do() -> None:
    failed = workshop.doubts(summary(verdict="FAILED: 04, cell 3: no space left."), PLENTY, PLENTY)
    assert failed == ["the run failed: FAILED: 04, cell 3: no space left."]
    missing = {**summary()["versions"], "gcloud": ""}
    found = workshop.doubts(summary(verdict="PARTIAL: 24 commands not run", versions=missing), 10**9, 10**9)
    assert [one.split(":")[0] for one in found] == ["no gcloud", "1.0 GB of memory", "1.0 GB of free disk"]
    said = workshop.text(summary(versions=missing), {"system": "Linux"}, found)
    assert "- gcloud: missing" in said
    assert said.count("**Not ready yet:**") == 1
    assert all(f"- {one}" in said for one in found)


def test_the_machine_is_looked_at(tmp_path: Path) -> None:
    about = workshop.machine(tmp_path)
    assert set(about) == {"system", "processors", "memory", "free disk"}
    assert workshop.memory() > 10**8


def test_the_command_docker_and_pythons_package_docker_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = report.versions()
    assert found["docker"] == ""
    assert found["docker (Python)"] == metadata.version("docker")
