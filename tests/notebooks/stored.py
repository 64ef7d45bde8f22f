"""Compare a notebook's stored outputs with new ones by nbval's rules, after the runner has run the cells.

nbval would run the cells itself, but the runner stops at the first that fails and skips none. This also reports what
nbval ignores: cells that were never run or that nbval was told to skip, added or removed cells, and missing pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile, coalesce_streams, get_sanitize_patterns

from cli.record import rules
from cli.record.stand_ins import StandIns

RULES = rules.PATH


def disagreements(stored: str, fresh: str, folder: Path, session: pytest.Session) -> Iterator[str]:
    """Yield `cell: difference` for two notebooks as JSON. A file for nbval is written into the folder."""
    before, now = (_numbered_anew(text) for text in (stored, fresh))
    path = folder / "stored.ipynb"
    nbformat.write(before, path)
    said = {cell.id: cell.outputs for cell in now.cells if cell.cell_type == "code"}
    cells = list(_cells(path, session))
    if [cell.cell.id for cell in cells] != list(said):
        odd = sorted({one.cell.id for one in cells} ^ {*said})
        yield f"{odd}: there are other cells, or they stand in another order"
        return
    for cell in cells:
        yield from (f"{cell.cell.id}: {why}" for why in _of_cell(cell, said[cell.cell.id]))


def _of_cell(cell: IPyNbCell, fresh: list[Any]) -> Iterator[str]:
    stored = cell.cell.outputs
    if cell.options["skip"] or cell.options["check_exception"] or not cell.options["check"]:
        yield "nbval is told to look away"
    if cell.cell.execution_count is None:
        yield "it was never run: record the notebook"
        return
    if not cell.compare_outputs(coalesce_streams(fresh), coalesce_streams(stored)):
        told = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(cell.comparison_traceback))
        yield f"its outputs differ\n{told}"
    if _pictures(stored) != _pictures(fresh):
        yield f"it shows {_pictures(fresh)} pictures, and {_pictures(stored)} are stored"


def _cells(path: Path, session: pytest.Session) -> Iterator[IPyNbCell]:
    book = IPyNbFile.from_parent(session, path=path)
    book.sanitize_patterns.update(get_sanitize_patterns(RULES.read_text(encoding="utf-8")))
    yield from book.collect()


def said(output: Any) -> str:
    """Return the text of an output: of a stream, or the plain text beside HTML."""
    return "".join(output.get("text", output.get("data", {}).get("text/plain", "")))


def _numbered_anew(text: str) -> Any:
    """Return the notebook with its own numbers of stand-ins, which don't depend on the notebooks before it."""
    book = nbformat.reads(text, as_version=4)
    names = StandIns()
    for output in (one for cell in book.cells if cell.cell_type == "code" for one in cell.outputs):
        if output.output_type == "stream":
            output.text = names.apply(output.text)
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/"):
                output.data[kind] = names.apply(value)
    return book


def _pictures(outputs: list[Any]) -> int:
    return sum(kind.startswith("image/") for one in outputs for kind in one.get("data", {}))
