"""Commands as processes: one that has to succeed, and `workbook run` with what it left to read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """A finished run: its exit status, what it printed, its folder and the summary in it."""

    status: int
    output: str
    folder: Path
    summary: dict[str, Any]


def run(*arguments: str, environment: Mapping[str, str], root: Path = ROOT) -> Run:
    """Run the notebooks in `root` with the helpers in `root`."""
    command = [sys.executable, "-m", "cli.main", "run", *arguments]
    ran = _ended(command, root, {**environment, "PYTHONPATH": str(root), "COLUMNS": "200"})
    found = re.search(r"^Files: (.+)$", ran.stdout, re.MULTILINE)
    assert found, ran.stdout
    folder = Path(found[1].strip())
    return Run(ran.returncode, ran.stdout, folder, json.loads((folder / "summary.json").read_text()))


def succeed(*command: str | Path, **variables: str) -> str:
    """What a command printed, with more variables in its environment; the test fails when the command does."""
    ran = _ended([str(one) for one in command], ROOT, {**os.environ, **variables})
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def _ended(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def recorded(python: str | Path, **variables: str) -> None:
    """Run every notebook as a recording, and fail unless each is byte by byte as it is stored."""
    test = "tests/notebooks/test_recorded.py"
    said = succeed(python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", test, WORKBOOK_SOAK="1", **variables)
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
    assert "skipped" not in said
