"""Notebooks whose image is an index with an attestation, as today's Docker pushes where no variable forbids it.

`make test` takes two notebooks, `make soak` all that build on the image.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NOTEBOOKS = "05,06,07,08,09,10" if os.environ.get("WORKBOOK_SOAK") else "05,08"
# The runner, with one more step after the push that it makes for a notebook that runs alone.
_RUN = """
import sys

from cli.main import main
from helpers import fast_forward, registry, tags

push = fast_forward._push


def attested(here):
    done = push(here)
    image = here.repository_name.image(here.image)
    for name in ("1.0.0", "1.0.1"):
        registry.attest(image.tag(name))
    tags.point(image.tag("latest"), tags.where(image)["1.0.1"])
    assert all(registry.manifest(image.tag(name)).children for name in ("1.0.0", "1.0.1", "latest"))
    return f"{done}, as indexes"


fast_forward._push = attested
sys.exit(main(["run", "--only", sys.argv[1]]))
"""


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_notebooks_take_an_index_for_an_image(python_image: str) -> None:
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
    assert "1.0.0 and 1.0.1, as indexes" in ran.stdout
    assert len(re.findall(r"^\[\d/\d\] \w+: ok", ran.stdout, re.MULTILINE)) == len(_NOTEBOOKS.split(","))
