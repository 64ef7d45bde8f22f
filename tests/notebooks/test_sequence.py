"""The notebooks in sequence on a machine without gcloud, in a sandbox that is as slow as Google.

Python cells wait for everything that they start. test_recorded.py has gcloud and an instant sandbox,
tests/soak/test_slow.py gcloud and a slow one. `make soak` runs every notebook, `make test` those of the main job.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cli.world import starter
from tests.runs import Run, run

_SOME = () if os.environ.get("WORKBOOK_SOAK") else ("--only", "00,01,02,03,04")
_GCLOUD = ("gcloud", "docker-credential-gcloud")

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def partial(python_image: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run in a slow sandbox on a machine without gcloud."""
    folder = tmp_path_factory.mktemp("bin")
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for tool in Path(place).glob("*"):
            link = folder / tool.name
            if tool.name not in _GCLOUD:
                link.unlink(missing_ok=True)
                link.symlink_to(tool)
    return run(*_SOME, environment={**os.environ, "PATH": str(folder), starter.OPTIONS: "--slow"})


def _tags(run: Run) -> dict[str, str]:
    return {tag: image["digest"] for image in run.summary["images"] for tag in image["tags"]}


def test_run_without_gcloud_reaches_the_same_state_and_is_partial(partial: Run) -> None:
    assert partial.status == 0, partial.output
    assert partial.summary["verdict"] == "PARTIAL"
    count = partial.summary["commands_not_run"]["count"]
    assert count > 20
    last = partial.output.rstrip().splitlines()[-1]
    assert last.startswith(f"PARTIAL: {count} commands not run")
    assert {"1.0.0", "1.0.1"} <= _tags(partial).keys()
    pushed = [image for image in partial.summary["images"] if "ml-predictor" in image["image"]]
    assert all(image["agree"] for image in pushed if {"1.0.0", "1.0.1"} & set(image["tags"]))


def test_operations_of_the_slow_sandbox_were_polled(partial: Run) -> None:
    """Operations that end immediately are never polled."""
    polls = re.findall(
        r"200 GET serviceusage\.googleapis\.com/v1/operations/", (partial.folder / "sandbox.log").read_text()
    )
    assert len(polls) >= 3 * 3
