"""Generate the agendas of docs/workshop.md from the notebooks' metadata: `make docs`.

A row of an agenda is `| HH:MM | what | minutes |`. A row that links to a notebook gets its title and minutes. The first
time of each table is kept, and the others are computed from it. A missing notebook is inserted after the one before it.
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
    """A notebook's title and minutes, and the headings of the agendas that include it."""

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
    """Yield the page's lines, with a row in each agenda for exactly the notebooks that name the agenda, in order."""
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
            # The notebooks before it that the table lacks, and then the row itself.
            for path in waiting[: waiting.index(link[1]) + 1]:
                yield f"| 00:00 | [x](../{path}) | 0 |" if path != link[1] else line
            del waiting[: waiting.index(link[1]) + 1]
        elif row and row[3] == "end":
            yield from (f"| 00:00 | [x](../{path}) | 0 |" for path in waiting)
            yield line
        else:
            yield line


def updated(page: str, notebooks: dict[str, Card]) -> str:
    """Return the page with every agenda up to date."""
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
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), cards()), encoding="utf-8")
    return 0
