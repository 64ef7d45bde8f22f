"""docs/solutions.md is up to date with the notebooks, and complete."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from helpers.cell import documents
from tests.docs import solutions

PAGE = solutions.PAGE.read_text(encoding="utf-8")
FIRST: list[Any] = documents.read(documents.notebooks()[0]).cells


def test_solutions_page_is_up_to_date() -> None:
    assert solutions.page() == PAGE, "docs/solutions.md is out of date: make docs"


@pytest.mark.parametrize("path", documents.notebooks(), ids=lambda path: path.stem)
def test_every_exercise_has_two_hints_and_a_solution(path: Any) -> None:
    found = solutions.exercises(documents.read(path).cells)
    assert len(found) == documents.exercises(path)
    for one in found.values():
        assert len(one.hints) == 2
        assert one.solutions
        assert all(text.strip() and "solution(" not in text for _, text in one.solutions)


def test_changed_solution_changes_the_page() -> None:
    cells = copy.deepcopy(FIRST)
    [cell] = [cell for cell in cells if cell["id"] == "solution"]
    cell["source"] = (
        "# Solution of exercise 1, in Python\nif solution(1):\n    print(1)\n    if True:\n        print(2)\n"
    )
    assert solutions.exercises(cells)[1].solutions[-1] == ("python", "print(1)\nif True:\n    print(2)\n")


def test_solution_without_its_first_line_is_refused() -> None:
    cells = copy.deepcopy(FIRST)
    [cell] = [cell for cell in cells if cell["id"] == "solution"]
    cell["source"] = "print(1)"
    with pytest.raises(ValueError, match="begins otherwise"):
        solutions.exercises(cells)


def test_hint_is_shown_as_the_check_prints_it() -> None:
    assert solutions.plain("'**/*.md' and f(*x[1])") == r"'\*\*/\*.md' and f(\*x\[1\])"
    assert solutions.plain("`f(*x)`, and_this") == r"`f(*x)`, and\_this"
