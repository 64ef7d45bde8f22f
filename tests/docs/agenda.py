"""The agendas of docs/workshop.md: their notebooks and minutes from the notebooks' metadata, times from the minutes.

    make docs        writes them anew

A row of an agenda is `| HH:MM | what | minutes |`. What links to a notebook takes that notebook's minutes; the first
time of each table stands, and every other follows from it. A notebook that a table lacks is put behind the one before
it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.cell import about, documents
from tests.docs import tables

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "workshop.md"
_ROW = re.compile(r"^\| (\d\d):(\d\d) \| (.+?) \|(?: (\d+))? \|$")
_LINK = re.compile(r"\[.+?\]\(\.\./(notebooks/\S+?)\)")


@dataclass(frozen=True)
class Card:
    """What an agenda says of a notebook, and the headings of the agendas that have it."""

    title: str
    minutes: int
    workshop: tuple[str, ...]


def cards() -> dict[str, Card]:
    """Return each notebook's card, by its path."""
    return {
        f"notebooks/{path.name}": Card(tables.title(path), found.minutes, found.workshop)
        for path in documents.notebooks()
        if (found := about.read(path))
    }


def chosen(page: str, notebooks: dict[str, Card]) -> Iterator[str]:
    """Yield the page's lines with the rows of those notebooks, in order, that want to be in each agenda."""
    heading = ""
    waiting: list[str] = []
    for line in page.splitlines():
        row = _ROW.match(line)
        if line.startswith("#"):
            heading = line.lstrip("# ")
            waiting = [path for path, card in sorted(notebooks.items()) if heading in card.workshop]
        link = _LINK.fullmatch(row[3]) if row else None
        if link and link[1] not in waiting:
            continue
        if link:
            # Those before it that the table lacks, and then itself.
            for path in waiting[: waiting.index(link[1]) + 1]:
                yield f"| 00:00 | [x](../{path}) | 0 |" if path != link[1] else line
            del waiting[: waiting.index(link[1]) + 1]
        elif row and row[3] == "end":
            yield from (f"| 00:00 | [x](../{path}) | 0 |" for path in waiting)
            yield line
        else:
            yield line


def told(page: str, notebooks: dict[str, Card]) -> str:
    """Return the page with every agenda as the notebooks have it."""
    lines = []
    clock: int | None = None
    for line in chosen(page, notebooks):
        row = _ROW.match(line)
        if not row:
            clock = None
            lines.append(line)
            continue
        hours, minutes, what, length = row.groups()
        clock = int(hours) * 60 + int(minutes) if clock is None else clock
        if link := _LINK.fullmatch(what):
            card = notebooks[link[1]]
            what, length = f"[{card.title}](../{link[1]})", str(card.minutes)
        lines.append(f"| {clock // 60:02}:{clock % 60:02} | {what} |{f' {length}' if length else ''} |")
        clock += int(length or 0)
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(told(PAGE.read_text(encoding="utf-8"), cards()), encoding="utf-8")
    return 0
