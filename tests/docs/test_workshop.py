"""docs/workshop.md: its agendas add up, and their minutes are the notebooks'."""

from __future__ import annotations

import re

from tests.docs import agenda

PAGE = agenda.PAGE.read_text(encoding="utf-8")
CARDS = agenda.cards((agenda.ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_agendas_are_what_the_cards_say() -> None:
    assert agenda.told(PAGE, CARDS) == PAGE, "write them anew: .venv/bin/python -m tests.docs.agenda"


def test_the_full_day_has_every_notebook_in_order() -> None:
    day = PAGE.partition("### A full day")[2].partition("\n### ")[0]
    assert re.findall(r"\.\./(notebooks/[^)]+)\)", day) == sorted(CARDS)


def test_half_a_day_ends_by_lunch() -> None:
    halves = PAGE.split("### Half a day")[1:]
    assert len(halves) == 2
    for half in halves:
        [end] = re.findall(r"^\| (\d\d:\d\d) \| end \|", half, re.MULTILINE)
        assert end <= "13:00"


def test_another_minute_moves_what_comes_after() -> None:
    title, minutes = CARDS["notebooks/00_start_here.ipynb"]
    moved = agenda.told(PAGE, CARDS | {"notebooks/00_start_here.ipynb": (title, minutes + 7)})
    assert moved != PAGE
    assert moved.count("| 09:00 |") == PAGE.count("| 09:00 |")
    ends = [re.findall(r"^\| (\d\d):(\d\d) \| end \| \|$", text, re.MULTILINE) for text in (PAGE, moved)]
    before, after = ([int(hours) * 60 + int(minutes) for hours, minutes in found] for found in ends)
    assert [end - 7 for end in after] == before
