"""Clean up after runs that were killed: their sandboxes, containers and image names, in the own `runs/` only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import docker.errors

from cli.world import starter
from helpers import sweep
from helpers.target import Target
from machine import processes

_NOTE: Final = "run.json"


def note(folder: Path, here: Target | None) -> None:
    """Store the run's process and target, so that a later run can clean up. `here` is None before it is known."""
    content = {"pid": os.getpid(), "born": processes.born(os.getpid()), "target": asdict(here) if here else None}
    (folder / _NOTE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def clean(runs: Path, echo: Callable[[str], object]) -> tuple[Path, ...]:
    """Stop and remove the worlds of killed runs, and return their folders.

    On Google nothing is deleted, but `echo` gets the command that lists what such a run left.
    """
    cleaned = []
    for home in sorted(runs.glob("*/world")):
        folder = home.parent
        killed = _killed(folder)
        if killed is None:
            continue
        here = killed.target
        echo(f"Cleaning up after the run {folder.name}, which was killed.")
        if here and here.name == "gcp":
            echo(
                f"What it left in {here.project_id} is shown by: .venv/bin/workbook sweep --project {here.project_id} "
                f"--region {here.region} --run {here.run}"
            )
        starter.stop(home)
        # Without an engine a later run will do it.
        with contextlib.suppress(docker.errors.DockerException):
            if here:
                sweep.remove(sweep.find_local(here))
            shutil.rmtree(home)
            cleaned.append(folder)
    return tuple(cleaned)


@dataclass(frozen=True)
class _Killed:
    target: Target | None


def _killed(folder: Path) -> _Killed | None:
    """Return the target of a run whose process is gone, or None for a running one and for any other folder."""
    try:
        content = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        if processes.is_the_one(int(content["pid"]), content["born"]):
            return None
        return _Killed(Target(**content["target"]) if content["target"] else None)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
