"""Tables and sizes, as text that is the same on every run and as HTML."""

from __future__ import annotations

import html
import inspect
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from helpers.cell import rich
from helpers.cell.rich import Rich

_SHORT: Final = 24  # characters


def size(count: int) -> str:
    """Bytes as a person reads them, in docker's decimal units: `812 B`, `1.4 kB`, `61.3 MB`."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.95 or unit == "TB":
            break
    return f"{amount:.1f} {unit}"


def seconds(measured: float) -> str:
    """Return a measured time as people compare it: `0.4 s`, `12.3 s`."""
    return f"{measured:.1f} s"


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> Rich:
    """Columns under their headers, two spaces between; a column of numbers or sizes stands to the right.

    `display` shows it as an HTML table where a browser reads.

    Raises ValueError when a row hasn't as many cells as there are headers.
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
    """Print texts and tables below each other; in a notebook the tables are HTML, with the same text beside it."""
    rich.show(parts[0] if len(parts) == 1 else rich.lines(*parts))


def _html(cells: Sequence[Sequence[str]], headers: Sequence[str], right: Sequence[bool], widths: Sequence[int]) -> str:
    # A browser breaks `34.2 MB` and `ml-predictor@1a2b3c4d` before it breaks a list of tags.
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


def source(function: Callable[..., object]) -> None:
    """Print a helper's source, so that nothing in a notebook is hidden."""
    print(textwrap.dedent(inspect.getsource(function)).rstrip())


def _is_amount(text: str) -> bool:
    number, _, unit = text.partition(" ")
    return number.replace(".", "", 1).isdigit() and unit in ("", "B", "kB", "MB", "GB", "TB", "s")
