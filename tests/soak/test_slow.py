"""The whole workbook in a sandbox that is as slow as Google: no notebook and no helper depends on instant answers.

`make test` has tests/sandbox/state/test_pace.py, with the helpers only.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from cli.run import runner
from cli.run.plans import Plan
from cli.world import starter
from helpers.cell import documents

pytestmark = [
    pytest.mark.docker,
    pytest.mark.gcloud,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("WORKBOOK_SOAK"), reason="a quarter of an hour: make soak"),
]


def test_every_notebook_runs_in_a_slow_sandbox(
    python_image: str, gcloud: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(starter.OPTIONS, "--slow")
    said = io.StringIO()
    outcome = runner.run(Plan(documents.notebooks(), strict=True), Console(file=said, width=200), tmp_path)
    assert outcome.code == 0, said.getvalue()
    summary = json.loads((outcome.folder / "summary.json").read_text())
    assert [one["notebook"] for one in summary["notebooks"]] == [path.stem for path in documents.notebooks()]
