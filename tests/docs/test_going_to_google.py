"""docs/going_to_google.md says what the code asks for: roles and the notebooks that need them, prices, the sum."""

from __future__ import annotations

import re

from cli.readiness import needs
from cli.run import spending
from helpers import prices
from tests.docs.test_readme import NOTEBOOKS, ROOT

PAGE = (ROOT / "docs" / "going_to_google.md").read_text(encoding="utf-8")
NUMBERS = [int(path.name[:2]) for path in NOTEBOOKS]


def numbers(text: str) -> frozenset[int]:
    """`all`, `2 to 10` or `6, 9` as numbers of notebooks; notebook 0 needs nothing."""
    if text == "all":
        return frozenset(NUMBERS[1:])
    if run := re.fullmatch(r"(\d+) to (\d+)", text):
        return frozenset(range(int(run[1]), int(run[2]) + 1))
    return frozenset(int(one) for one in text.split(", "))


def test_the_roles_are_those_that_the_check_asks_about() -> None:
    rows = re.findall(r"^ *\| [^|]+ \(`(roles/[\w.]+)`\) \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert {role: numbers(said) for role, said in rows} == {one.role: one.notebooks for one in needs.NEEDS}


def test_the_prices_are_those_of_the_list() -> None:
    rows = dict(re.findall(r"^\| (\w[\w ,]*) \| ([\d.]+) USD", PAGE, re.MULTILINE))
    assert float(rows["scans, on push or on demand"]) == prices.SCAN.amount
    assert float(rows["build minutes"]) == prices.BUILD.amount
    assert float(rows["storage"]) == prices.STORAGE.amount
    assert f"first {prices.BUILD.free:,} of a month" in PAGE


def test_the_sum_is_the_estimate_and_the_limit_lets_it_through() -> None:
    [total] = re.findall(r"\*\*([\d.]+) USD\*\* at most", PAGE)
    assert float(total) == round(sum(spending.estimate(number) for number in NUMBERS), 2)
    [limit] = re.findall(r"--max-usd ([\d.]+)\"", PAGE)
    assert spending.stops_before(NUMBERS, float(limit)) is None
    assert spending.stops_before(NUMBERS, 1.0) is not None


def test_what_is_said_to_fit_into_the_usual_limit_fits() -> None:
    chosen = [[int(one) for one in found.split(",")] for found in re.findall(r"make real [^\n]*--only ([\d,]+)", PAGE)]
    assert len(chosen) == 2
    assert all(spending.stops_before(few, 1.0) is None for few in chosen)
    assert sum(spending.estimate(number) for number in chosen[0]) < 0.01, "the page says: less than a cent"
