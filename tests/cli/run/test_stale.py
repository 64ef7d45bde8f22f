"""A run that was killed is cleaned up after, also where there is no /proc; one that lives is left alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.run import stale
from machine import processes


@pytest.fixture(params=["proc", "ps"])
def _processes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Leases are read with the same eyes: those of the engine that answers here would all be taken for dead.
    monkeypatch.setenv("WORKBOOK_ENGINE_HOME", str(tmp_path / "engine"))
    if request.param == "ps":
        if shutil.which("ps") is None:
            pytest.skip("ps isn't installed")
        monkeypatch.setattr(processes, "PROC", tmp_path / "no-proc")


def _run(runs: Path, name: str, pid: int, born: object) -> Path:
    folder = runs / name
    (folder / "world").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"pid": pid, "born": born, "target": None}))
    return folder


@pytest.mark.usefixtures("_processes")
def test_only_the_worlds_of_dead_runs_go(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    runs = tmp_path / "runs"
    lives = _run(runs, "1", os.getpid(), processes.born(os.getpid()))
    killed = _run(runs, "2", ended.pid, processes.born(os.getpid()))
    # What a system without /proc wrote down before it was asked of ps.
    unknown = _run(runs, "3", ended.pid, None)
    pid_again = _run(runs, "4", os.getpid(), -1 if processes.PROC.exists() else "another time")
    said: list[str] = []
    assert stale.clean(runs, said.append) == (killed, unknown, pid_again)
    assert said == [f"Cleaning up after the run {name}, which was killed." for name in ("2", "3", "4")]
    assert (lives / "world").exists()
    assert not any((folder / "world").exists() for folder in (killed, unknown, pid_again))
