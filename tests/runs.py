"""Run commands as processes, `workbook run` among them."""

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
    """A finished run: its exit status, its output, its folder and the summary in the folder."""

    status: int
    output: str
    folder: Path
    summary: dict[str, Any]


def run(*arguments: str, environment: Mapping[str, str], root: Path = ROOT) -> Run:
    """Run the notebooks in `root` with the helpers in `root`."""
    command = [sys.executable, "-m", "cli.main", "run", *arguments]
    ran = _execute(command, root, {**environment, "PYTHONPATH": str(root), "COLUMNS": "200"})
    found = re.search(r"^Files: (.+)$", ran.stdout, re.MULTILINE)
    assert found, ran.stdout
    folder = Path(found[1].strip())
    return Run(ran.returncode, ran.stdout, folder, json.loads((folder / "summary.json").read_text()))


def succeed(*command: str | Path, **variables: str) -> str:
    """Return the output of a command that must succeed, with these variables added to its environment."""
    ran = _execute([str(one) for one in command], ROOT, {**os.environ, **variables})
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def _execute(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
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
    """Record every notebook, and fail unless each is byte by byte the stored one."""
    test = "tests/notebooks/test_recorded.py"
    output = succeed(python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", test, WORKBOOK_SOAK="1", **variables)
    assert re.search(r"^\d+ passed", output, re.MULTILINE), output
    assert "skipped" not in output
