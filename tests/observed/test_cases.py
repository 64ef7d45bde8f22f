"""Each case of the two reviews has a test that there is, or says why Google's answer isn't taken."""

from __future__ import annotations

import ast
import functools
import tomllib
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
CASES: list[dict[str, Any]] = tomllib.loads((TESTS / "observed" / "cases.toml").read_text())["case"]

# The numbers of public reports that a case was made of; the others were dropped when they were looked at.
REPORTS = (1, 2, 3, 4, 5, 7, 8, 10, 11, 14, 15, 17, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 29, 31, 32)
FAULTS = range(1, 14)


@functools.cache
def functions(file: str) -> frozenset[str]:
    path = TESTS / file
    body = ast.parse(path.read_text()).body if path.is_file() else []
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef))


def test_every_case_is_in_the_table_once() -> None:
    ids = [case["id"] for case in CASES]
    assert len(ids) == len(set(ids))
    wanted = {f"public-reports {number}" for number in REPORTS} | {f"clients F{number}" for number in FAULTS}
    assert wanted <= set(ids)


def test_every_case_names_tests_that_there_are_or_says_why_not() -> None:
    for case in CASES:
        assert case.keys() <= {"id", "about", "tests", "why"}, case["id"]
        assert case["about"], case["id"]
        assert case.get("tests") or case.get("why"), case["id"]
        for test in case.get("tests", ()):
            file, _, name = test.partition("::")
            assert name in functions(file), f"{case['id']}: {test} is no test"
