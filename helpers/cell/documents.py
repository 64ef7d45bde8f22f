"""Find, read and write the notebook files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from helpers.target import ROOT

NOTEBOOKS: Final = ROOT / "notebooks"


def read(path: Path) -> Any:
    """Read the notebook as nbformat's nodes, version 4. Raises OSError, nbformat.reader.NotJSONError."""
    # Imported here because it takes half a second, which `workbook env` needn't wait for.
    import nbformat

    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def parse(text: str) -> Any:
    """Parse a notebook's text as `read` does."""
    import nbformat

    return nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]


def text(notebook: Any) -> str:
    """Return the notebook's JSON in nbformat's form, with a newline at the end."""
    import nbformat

    written: str = nbformat.writes(notebook, version=4)  # type: ignore[no-untyped-call]
    return written.rstrip("\n") + "\n"


def code_cells(path: Path) -> int:
    """Return the number of a notebook's code cells."""
    return sum(cell.cell_type == "code" for cell in read(path).cells)


def notebooks(folder: Path = NOTEBOOKS) -> tuple[Path, ...]:
    """Return the workbook's notebooks in reading order."""
    return tuple(sorted(path for path in folder.glob("[0-9][0-9]_*.ipynb")))


def exercises(path: Path) -> int:
    """Return the number of a notebook's exercises, which are its calls of `exercise(…)`."""
    # Without nbformat, which takes half a second to import, because each notebook's first cell calls this.
    sources = ("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
    return sum(len(re.findall(r"^exercise\(", source, re.MULTILINE)) for source in sources)
