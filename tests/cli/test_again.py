"""`workbook reset --notebook`: the world before a notebook, a fresh copy, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import again, lab
from cli.world import starter
from helpers import answers
from helpers.cell import documents


def line(notebook: str, event: str = "done") -> str:
    return json.dumps({"time": "2026-11-02T09:00:00+00:00", "notebook": notebook, "exercise": 1, "event": event})


def test_a_notebook_begins_anew_in_the_world_that_it_needs(tmp_path: Path) -> None:
    home, said = tmp_path / "home", list[str]()
    folder = home / "lab" / "notebooks"
    lab.copy_notebooks(documents.NOTEBOOKS, folder)
    mine = folder / "02_create_a_repository.ipynb"
    mine.write_text("what I did", encoding="utf-8")
    other = folder / "03_sign_in.ipynb"
    other.write_text("what I did there", encoding="utf-8")
    kept = [line("01_set_up_the_project"), line("02_create_a_repository", "solution"), line("02_create_a_repository")]
    (home / answers.NAME).write_text("\n".join([*kept, "damaged"]), encoding="utf-8")
    try:
        before = starter.start(home).info.project_id
        assert again.begin(home, 2, said.append, said.append) == 0, said
        opened = starter.status(home).world
        assert opened
        # A world of its own, in which notebook 1 has been done and notebook 2 has not.
        assert opened.info.project_id != before
        methods = [one["method"] for one in opened.admin("requests")["requests"]]
        assert "serviceusage.services.batchEnable" in methods
        assert "artifactregistry.projects.locations.repositories.create" not in methods
    finally:
        starter.stop(home)
    [old] = folder.glob("02_create_a_repository-until-*.ipynb")
    assert old.read_text(encoding="utf-8") == "what I did"
    assert documents.read(mine) == lab.unread(documents.read(documents.NOTEBOOKS / mine.name))
    assert other.read_text(encoding="utf-8") == "what I did there"
    assert [(one.notebook, one.how) for one in answers.read(home)] == [("01_set_up_the_project", "own")]
    assert said[-1] == "The world is as notebook 2 finds it."


@pytest.mark.parametrize("number", [-1, 99])
def test_a_notebook_that_is_not_there_changes_nothing(number: int, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    said: list[str] = []
    assert again.begin(tmp_path, number, said.append, said.append) == 2
    assert said == [f"There is no notebook {number}. There are 0 to {len(documents.notebooks()) - 1}."]
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
