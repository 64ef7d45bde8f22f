"""Each Python that the workbook promises: its own environment, the unit tests, and the notebooks, byte by byte."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import runs

VERSIONS = ("3.11", "3.12", "3.13")
# Tests that start no engine and no gcloud.
UNITS = [
    f"tests/{name}.py"
    for name in (
        "helpers/test_checks",
        "helpers/cell/test_commands",
        "helpers/test_conventions",
        "helpers/test_names",
        "helpers/test_pictures",
        "helpers/test_policies",
        "helpers/test_show",
        "cli/record/test_stand_ins",
        "helpers/cell/test_requests_seen",
        "docs/test_boundaries",
        "notebooks/test_shape",
        "sandbox/artifact_registry/test_repositories",
        "sandbox/artifact_registry/test_cleanup_policies",
        "sandbox/oci/test_durability",
    )
]

pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="a long one: make soak"),
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


def found(version: str) -> str:
    """An interpreter of that version, on the PATH or where pyenv keeps them; "" when there is none."""
    places = [shutil.which(f"python{version}"), *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    for place in [sys.executable, *filter(None, places)]:
        told = subprocess.run([place, "--version"], capture_output=True, text=True, check=False)
        if told.stdout.startswith(f"Python {version}."):
            return str(place)
    return ""


@pytest.mark.parametrize("version", VERSIONS)
def test_workbook_works_with_this_python(version: str, python_image: str, tmp_path: Path) -> None:
    interpreter = found(version)
    if not interpreter:
        pytest.skip(f"there is no Python {version} here")
    venv = tmp_path / "venv"
    runs.succeed("machine/install.sh", WORKBOOK_PYTHON=interpreter, WORKBOOK_VENV=str(venv))
    python = venv / "bin" / "python"
    assert runs.succeed(python, "--version").startswith(f"Python {version}.")
    said = runs.succeed(python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *UNITS)
    assert re.search(r"^\d+ passed", said, re.MULTILINE)
    runs.recorded(python)
