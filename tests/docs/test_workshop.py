"""docs/workshop.md: its agendas add up, and their minutes are the notebooks'."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.docs import agenda

PAGE = agenda.PAGE.read_text(encoding="utf-8")
CARDS = agenda.cards()


def test_the_agendas_are_what_the_cards_say() -> None:
    assert agenda.told(PAGE, CARDS) == PAGE, "write them anew: make docs"


def test_every_agenda_that_a_notebook_names_is_there_and_has_it_in_order() -> None:
    for heading in {one for card in CARDS.values() for one in card.workshop}:
        day = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
        wanted = [path for path, card in sorted(CARDS.items()) if heading in card.workshop]
        assert re.findall(r"\.\./(notebooks/[^)]+)\)", day) == wanted


def test_a_notebook_that_joins_or_leaves_an_agenda_gets_and_loses_its_row() -> None:
    first = "notebooks/00_start_here.ipynb"
    without = agenda.told(PAGE, CARDS | {first: replace(CARDS[first], workshop=())})
    assert without.count(f"](../{first})") == PAGE.count(f"](../{first})") - len(CARDS[first].workshop)
    assert agenda.told(without, CARDS) == PAGE
    last = agenda.told(PAGE, CARDS | {"notebooks/99_more.ipynb": agenda.Card("99 · More", 5, ("A full day",))})
    assert "| [99 · More](../notebooks/99_more.ipynb) | 5 |\n" in last


def test_half_a_day_ends_by_lunch() -> None:
    halves = PAGE.split("### Half a day")[1:]
    assert len(halves) == 2
    for half in halves:
        [end] = re.findall(r"^\| (\d\d:\d\d) \| end \|", half, re.MULTILINE)
        assert end <= "13:00"


def test_another_minute_moves_what_comes_after() -> None:
    first = CARDS["notebooks/00_start_here.ipynb"]
    moved = agenda.told(PAGE, CARDS | {"notebooks/00_start_here.ipynb": replace(first, minutes=first.minutes + 7)})
    assert moved != PAGE
    assert moved.count("| 09:00 |") == PAGE.count("| 09:00 |")
    ends = [re.findall(r"^\| (\d\d):(\d\d) \| end \| \|$", text, re.MULTILINE) for text in (PAGE, moved)]
    before, after = ([int(hours) * 60 + int(minutes) for hours, minutes in found] for found in ends)
    assert [end - 7 for end in after] == before
