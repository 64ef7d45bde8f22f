"""docs/going_to_google.md has the notebooks' roles and prices, and suggests runs that fit into the usual limit."""

from __future__ import annotations

import re

from cli.run import plans, spending
from helpers import prices
from tests.docs import tables
from tests.docs.test_readme import NOTEBOOKS, ROOT

PAGE = (ROOT / "docs" / "going_to_google.md").read_text(encoding="utf-8")


def test_roles_match_the_notebooks() -> None:
    assert tables.google(PAGE, NOTEBOOKS) == PAGE, "docs/going_to_google.md is out of date: make docs"


def test_prices_match_the_price_list() -> None:
    rows = dict(re.findall(r"^\| (\w[\w ,]*) \| ([\d.]+) USD", PAGE, re.MULTILINE))
    assert float(rows["scans, on push or on demand"]) == prices.SCAN.amount
    assert float(rows["build minutes"]) == prices.BUILD.amount
    assert float(rows["storage"]) == prices.STORAGE.amount
    assert f"first {prices.BUILD.free:,} of a month" in PAGE


def test_suggested_runs_fit_into_the_usual_limit() -> None:
    chosen = [plans.choose(found) for found in re.findall(r"make real [^\n]*--only ([\d,]+)", PAGE)]
    assert len(chosen) == 2
    assert all(spending.stops_before(few, 1.0) is None for few in chosen)
    assert sum(spending.estimate(path) for path in chosen[0]) < 0.01, "the page says: less than a cent"
