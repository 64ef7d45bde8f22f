"""The agendas of docs/workshop.md: minutes from the notebooks' cards, times from the minutes.

    .venv/bin/python -m tests.docs.agenda        writes them anew

A row of an agenda is `| HH:MM | what | minutes |`. What links to a notebook takes that notebook's minutes; the first
time of each table stands, and every other follows from it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "workshop.md"
_ROW = re.compile(r"^\| (\d\d):(\d\d) \| (.+?) \|(?: (\d+))? \|$")
_TITLED = re.compile(r"\| \[(.+?)\]\((notebooks/\S+?)\) \| .+? \| (\d+) \|")


def cards(readme: str) -> dict[str, tuple[str, int]]:
    """Notebook → (title, minutes), from README's table, which a test holds to the cards."""
    return {path: (title, int(minutes)) for title, path, minutes in _TITLED.findall(readme)}


def told(page: str, notebooks: dict[str, tuple[str, int]]) -> str:
    """The page with every agenda as the cards have it."""
    lines = []
    clock: int | None = None
    for line in page.splitlines():
        row = _ROW.match(line)
        if not row:
            clock = None
            lines.append(line)
            continue
        hours, minutes, what, length = row.groups()
        clock = int(hours) * 60 + int(minutes) if clock is None else clock
        link = re.fullmatch(r"\[.+?\]\(\.\./(notebooks/\S+?)\)", what)
        if link:
            title, takes = notebooks[link[1]]
            what, length = f"[{title}](../{link[1]})", str(takes)
        lines.append(f"| {clock // 60:02}:{clock % 60:02} | {what} |{f' {length}' if length else ''} |")
        clock += int(length or 0)
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    text = told(PAGE.read_text(encoding="utf-8"), cards((ROOT / "README.md").read_text(encoding="utf-8")))
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
