"""Notebooks 5 and 8: their shape, and that their statements about files and policies are true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import policies
from helpers.target import ROOT

NOTEBOOKS = ("05_tag_images", "08_clean_up_old_images")


def cells(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    return found


def tagged(name: str, tag: str) -> list[dict[str, Any]]:
    return [cell for cell in cells(name) if tag in cell["metadata"].get("tags", [])]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_has_two_exercises_with_check_and_solution(name: str) -> None:
    order = [
        tag
        for cell in cells(name)
        for tag in cell["metadata"].get("tags", [])
        if tag in ("exercise", "check", "solution", "solution-check")
    ]
    # An exercise may have two solutions, for the terminal and in Python.
    once = [tag for place, tag in enumerate(order) if tag != "solution" or order[place - 1] != "solution"]
    assert once == ["exercise", "check", "solution", "solution-check"] * 2
    for cell in [*tagged(name, "solution"), *tagged(name, "solution-check")]:
        assert cell["metadata"]["jupyter"]["source_hidden"] is True


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_has_all_closing_sections(name: str) -> None:
    text = "\n".join("".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "markdown")
    for heading in ("## Try to break it", "## Your turn", "## What could go wrong", "## What this leaves behind"):
        assert heading in text
    assert any("--refused" in "".join(cell["source"]) for cell in cells(name))


def test_every_policy_of_the_file_is_explained() -> None:
    text = "\n".join("".join(cell["source"]) for cell in cells("08_clean_up_old_images"))
    for policy in policies.read(Path(ROOT / "cleanup-policy.json")):
        assert f"**{policy.name}**" in text
