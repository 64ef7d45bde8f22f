"""docs/engines.md has a line for each engine of the matrix, and a run replaces its engine's line."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from helpers.cell import documents
from tests.soak import engines

DAY = dt.date(2026, 11, 28)


def test_page_has_one_line_for_each_engine() -> None:
    titles = re.findall(r"^\| (Debian \d+: [^|]+) \|", engines.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert titles == [one.title for one in engines.ENGINES.values()]


def test_each_line_has_a_date_or_not_run() -> None:
    for line in re.findall(r"^\| Debian \d+: .*$", engines.PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        last = line.rstrip("| ").rpartition("| ")[2]
        assert last == "not run" or dt.date.fromisoformat(last)


def test_run_writes_its_own_line_only(tmp_path: Path) -> None:
    page = tmp_path / "engines.md"
    before = engines.PAGE.read_text(encoding="utf-8")
    page.write_text(before, encoding="utf-8")
    seen = engines.Seen(1, "", {"04": ("ok", 12.4), "06": ("failed", 3.0)})
    engines.write("podman", seen, DAY, page)
    changed = [line for line in page.read_text(encoding="utf-8").splitlines() if line not in before.splitlines()]
    assert changed == [f"| {engines.ENGINES['podman'].title} | 04 12 s; failed: 06 | 15 s | 2026-11-28 |"]


def test_page_without_the_engine_is_not_written(tmp_path: Path) -> None:
    page = tmp_path / "engines.md"
    page.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has 0 lines"):
        engines.write("podman", engines.Seen(0, "", {}), DAY, page)
    assert page.read_text(encoding="utf-8") == "nothing\n"


def test_the_cells_that_may_differ_are_there() -> None:
    cells = {f"{path.name}#{cell.id}" for path in documents.notebooks() for cell in documents.read(path).cells}
    assert set(engines.MAY_DIFFER) <= cells
