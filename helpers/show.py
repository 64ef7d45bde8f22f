"""Format tables and sizes, as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Final

from helpers.cell import rich
from helpers.cell.rich import Rich

_SHORT: Final = 24  # characters


def size(count: int) -> str:
    """Return a number of bytes in docker's decimal units: `812 B`, `1.4 kB`, `61.3 MB`."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.95 or unit == "TB":
            break
    return f"{amount:.1f} {unit}"


def seconds(measured: float) -> str:
    """Return a measured time to a tenth of a second: `12.3 s`."""
    return f"{measured:.1f} s"


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> Rich:
    """Return a table whose columns of numbers or sizes are right-aligned. `display` shows it as HTML in a browser.

    Raises ValueError when a row doesn't have as many cells as there are headers.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(headers):
            raise ValueError(f"A row has {len(row)} cells and there are {len(headers)} headers: {row}")
    widths = [max(len(line[column]) for line in [list(headers), *cells]) for column in range(len(headers))]
    right = [bool(cells) and all(_is_amount(row[column]) for row in cells) for column in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    return Rich("\n".join([line(headers), *(line(row) for row in cells)]), _html(cells, headers, right, widths))


def display(*parts: str) -> None:
    """Print texts and tables below each other. In a notebook tables are shown as HTML."""
    rich.show(parts[0] if len(parts) == 1 else rich.lines(*parts))


def _html(cells: Sequence[Sequence[str]], headers: Sequence[str], right: Sequence[bool], widths: Sequence[int]) -> str:
    # Without nowrap, a browser breaks lines in `34.2 MB` and `ml-predictor@1a2b3c4d` rather than in a list of tags.
    styles = [
        f"text-align: {'right' if to_right else 'left'}{'; white-space: nowrap' if width <= _SHORT else ''}"
        for to_right, width in zip(right, widths, strict=True)
    ]

    def row(kind: str, texts: Sequence[str]) -> str:
        return "".join(
            f'<{kind} style="{style}">{html.escape(text)}</{kind[:2]}>'
            for style, text in zip(styles, texts, strict=True)
        )

    head = row('th scope="col"', headers)
    body = "\n".join(f"<tr>{row('td', one)}</tr>" for one in cells)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _is_amount(text: str) -> bool:
    number, _, unit = text.partition(" ")
    return number.replace(".", "", 1).isdigit() and unit in ("", "B", "kB", "MB", "GB", "TB", "s")
