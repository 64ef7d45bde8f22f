"""SECURITY.md: every point of its table names tests, and these exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.test_readme import ROOT

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def rows() -> list[tuple[str, str]]:
    """Return each point of the table "What is defended" with the cell that names its tests."""
    _, _, rest = PAGE.partition("## What is defended")
    section = rest.partition("\n## ")[0]
    found = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(cells[0].strip(), cells[-1]) for cells in found[1:]]


def test_every_point_of_the_table_names_tests() -> None:
    assert len(rows()) > 10
    assert [point for point, tests in rows() if not _TEST.search(tests)] == []


@pytest.mark.parametrize(("file", "test"), sorted(set(_TEST.findall(PAGE))))
def test_named_test_exists(file: str, test: str) -> None:
    path = ROOT / file
    assert path.is_file()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert test in names if test else names
