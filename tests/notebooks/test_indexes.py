"""Notebooks whose image is an index with an attestation, as current Docker pushes by default.

`make test` runs one notebook, `make soak` also those after it. Notebook 5 is left out: there docker pushes a tag from
the engine, and an engine with the older image store has only the image, not the index that a current builder has.
tests/soak/test_engines.py runs it with the containerd store.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NOTEBOOKS = "06,07,08,09,10" if os.environ.get("WORKBOOK_SOAK") else "08"
# The runner with one more step, after the push that prepares a notebook which runs alone.
_RUN = """
import sys

from rich.console import Console

from cli.run import plans, runner
from dataclasses import replace

from helpers import fast_forward, registry, tags

image = fast_forward._FOUNDATIONS["image"]


def attested(here):
    done = image.make(here)
    pushed = here.repository_name.image(here.image)
    for name in ("1.0.0", "1.0.1"):
        registry.attest(pushed.tag(name))
    tags.point(pushed.tag("latest"), tags.where(pushed)["1.0.1"])
    assert all(registry.manifest(pushed.tag(name)).children for name in ("1.0.0", "1.0.1", "latest"))
    return f"{done}, as indexes"


fast_forward._FOUNDATIONS["image"] = replace(image, make=attested)
sys.exit(runner.run(plans.Plan(plans.choose(sys.argv[1])), Console()).code)
"""


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_notebooks_accept_an_index_as_an_image(python_image: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, _NOTEBOOKS],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.findall(r"^Fast forward over notebook (\d)", ran.stdout, re.MULTILINE)[:4] == ["1", "2", "3", "4"]
    assert "1.0.0 and 1.0.1, as indexes" in ran.stdout
    assert len(re.findall(r"^\[\d/\d\] \w+: ok", ran.stdout, re.MULTILINE)) == len(_NOTEBOOKS.split(","))
