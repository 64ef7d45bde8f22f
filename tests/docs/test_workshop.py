"""docs/workshop.md: its agendas add up, and have the notebooks' minutes."""

from __future__ import annotations

import re
from dataclasses import replace

import yaml

from tests.docs import agenda

VALUES = yaml.safe_load((agenda.ROOT / "room" / "kubernetes" / "values.yaml").read_text(encoding="utf-8"))["singleuser"]
PAGE = agenda.PAGE.read_text(encoding="utf-8")
CARDS = agenda.cards()


def test_agendas_match_the_cards() -> None:
    assert agenda.updated(PAGE, CARDS) == PAGE, "docs/workshop.md is out of date: make docs"


def test_agenda_has_its_notebooks_in_order() -> None:
    for heading in {one for card in CARDS.values() for one in card.workshop}:
        day = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
        wanted = [path for path, card in sorted(CARDS.items()) if heading in card.workshop]
        assert re.findall(r"\.\./(notebooks/[^)]+)\)", day) == wanted


def test_row_is_added_and_removed_with_its_notebook() -> None:
    first = "notebooks/00_start_here.ipynb"
    without = agenda.updated(PAGE, CARDS | {first: replace(CARDS[first], workshop=())})
    assert without.count(f"](../{first})") == PAGE.count(f"](../{first})") - len(CARDS[first].workshop)
    assert agenda.updated(without, CARDS) == PAGE
    last = agenda.updated(PAGE, CARDS | {"notebooks/99_more.ipynb": agenda.Card("99 · More", 5, ("A full day",))})
    assert "| [99 · More](../notebooks/99_more.ipynb) | 5 |\n" in last


def test_half_a_day_ends_by_lunch() -> None:
    halves = PAGE.split("### Half a day")[1:]
    assert len(halves) == 2
    for half in halves:
        [end] = re.findall(r"^\| (\d\d:\d\d) \| end \|", half, re.MULTILINE)
        assert end <= "13:00"


def test_longer_notebook_moves_the_rows_after_it() -> None:
    first = CARDS["notebooks/00_start_here.ipynb"]
    moved = agenda.updated(PAGE, CARDS | {"notebooks/00_start_here.ipynb": replace(first, minutes=first.minutes + 7)})
    assert moved != PAGE
    assert moved.count("| 09:00 |") == PAGE.count("| 09:00 |")
    ends = [re.findall(r"^\| (\d\d):(\d\d) \| end \| \|$", text, re.MULTILINE) for text in (PAGE, moved)]
    before, after = ([int(hours) * 60 + int(minutes) for hours, minutes in found] for found in ends)
    assert [end - 7 for end in after] == before


def test_figures_for_a_class_are_computed_from_one_learner() -> None:
    """The page says that the table is computed. This computes it."""
    [peak] = re.findall(r"^\| at most in notebook 4 \|.* (\d+) \|$", PAGE, re.MULTILINE)
    [hub] = re.findall(r"takes (\d+) MB more, once", PAGE)
    core, memory, cluster, disk = (
        float(one)
        for one in re.search(
            r"(0\.\d+) for an hour of an E2 processor and (0\.\d+) for .*?, "
            r"(0\.\d+) for an hour of a cluster, (0\.\d+) for",
            " ".join(PAGE.split()),
        ).groups()  # type: ignore[union-attr]
    )
    rows = re.findall(
        r"^\| (\d+) \| ([\d.]+) GB \| (\d+) \| ([\d.]+) min \| (\d+) GB "
        r"\| (\d) × e2-standard-(\d) \| ([\d.]+) \|$",
        PAGE,
        re.MULTILINE,
    )
    assert [int(row[0]) for row in rows] == [12, 30, 100]
    volume = int(VALUES["storage"]["capacity"].removesuffix("Gi"))
    for learners, *figures, count, size, usd in rows:
        many, nodes, each = int(learners), int(count), int(size)
        gigabytes = many * volume + nodes * 100
        assert figures == [
            f"{(many * int(peak) + int(hub)) / 1000:.1f}",
            str(nodes * each),
            f"{many * 50 / (nodes * each) / 60:.1f}",
            str(gigabytes),
        ]
        hour = nodes * each * (core + 4 * memory) + cluster + gigabytes * disk / 730
        assert usd == f"{hour * 10:.2f}"
        # The pods' requests fit on the nodes, of which Kubernetes keeps a part for itself.
        assert many * VALUES["cpu"]["guarantee"] <= nodes * (each - 0.5)
        assert many * int(VALUES["memory"]["guarantee"].removesuffix("M")) <= nodes * (each * 4 - 4) * 1000
    assert int(peak) < int(VALUES["memory"]["guarantee"].removesuffix("M"))
