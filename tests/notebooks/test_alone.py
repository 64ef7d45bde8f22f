"""Each notebook runs alone in a new world, because the runner makes what it builds on.

In `make test`, test_indexes.py runs the notebook alone that builds on most: images, tags and a sign-in.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.run import plans
from helpers.cell import about

ROOT = Path(__file__).parents[2]
_ALL = sorted(path.name[:2] for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not os.environ.get("WORKBOOK_SOAK"), reason="every notebook by itself: make soak")
@pytest.mark.parametrize("number", _ALL)
def test_notebook_runs_alone(number: str, python_image: str) -> None:
    strict = ["--strict"] if shutil.which("gcloud") else []
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", "run", "--only", number, *strict],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(rf"^\[1/1\] {number}_\w+: ok", ran.stdout, re.MULTILINE)
    [path] = plans.choose(number)
    assert ("Fast forward over notebook 1" in ran.stdout) is bool(about.read(path).needs)
