"""`workbook progress`, as the learner and a lead read it."""

from __future__ import annotations

import json
from pathlib import Path

from cli.answers import progress
from helpers.answers import Standing
from helpers.target import ROOT


def test_each_notebook_has_a_line_and_all_have_one() -> None:
    standings = [
        Standing("00_a", 1, "own", 2, 90.0),
        Standing("00_a", 2, "solution", 0, 30.0),
        Standing("01_b", 1, "", 4, 0),
    ]
    lines = progress.table({"00_a": 2, "01_b": 3}, standings).splitlines()
    assert lines[0].split("  ")[0] == "notebook"
    assert [line.split() for line in lines[1:]] == [
        ["00_a", "2", "1", "1", "0", "2", "2"],
        ["01_b", "3", "0", "0", "3", "4", "0"],
        ["all", "5", "1", "1", "3", "6", "2"],
    ]


def test_it_counts_the_notebooks_own_exercises() -> None:
    counted = progress.exercises()
    assert list(counted) == sorted(path.stem for path in ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))
    assert all(count >= 2 for count in counted.values())


def test_json_and_a_folder_without_answers(tmp_path: Path) -> None:
    said: list[str] = []
    assert progress.progress(tmp_path, as_json=True, say=said.append) == 0
    assert json.loads(said[0])["standings"] == []
