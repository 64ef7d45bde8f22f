"""The differences between two recordings that nbval ignores, from sanitize.cfg."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

PATH: Final = Path(__file__).with_name("sanitize.cfg")
_RULE: Final = re.compile(r"^regex: (.+)\nreplace: (.+)$", re.MULTILINE)


def sanitized(text: str) -> str:
    """Return the text as nbval compares it."""
    for pattern, replacement in _rules():
        text = pattern.sub(replacement, text)
    return text


def keep_stored(fresh: Any, stored: Any) -> None:
    """Replace outputs of `fresh` by those of `stored` where nbval considers them equal.

    So a measured value changes only together with something else in its cell.
    """
    before = {cell.id: cell.outputs for cell in stored.cells if cell.cell_type == "code" and "id" in cell}
    for cell in fresh.cells:
        if cell.cell_type == "code" and cell.id in before and _seen(cell.outputs) == _seen(before[cell.id]):
            cell.outputs = before[cell.id]


@cache
def _rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    found = _RULE.findall(PATH.read_text(encoding="utf-8"))
    return tuple((re.compile(pattern), replacement) for pattern, replacement in found)


def _seen(outputs: Sequence[Any]) -> list[Any]:
    """Return the parts of outputs that nbval compares."""
    return [
        (
            output.output_type,
            sanitized(output.get("text", "")),
            sorted((kind, sanitized(str(value))) for kind, value in output.get("data", {}).items()),
            {name: value for name, value in output.items() if name in ("name", "ename", "evalue")},
        )
        for output in outputs
    ]
