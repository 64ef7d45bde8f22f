"""Generate docs/solutions.md, every exercise with its hints and solutions, from the notebooks' cells: `make docs`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.cell import documents
from tests.docs import tables

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "solutions.md"
_HEAD = """\
# Solutions

For whoever leads: every exercise, the hints that its check gives, and the solutions that are folded below it in the
notebook. The first hint comes with the first answer that isn't ✓, the second after two tries. `make docs` writes this
page from the notebooks. Each solution is run with them, and its check then says ✓.

A learner's own way counts as much: the check looks at the result, not at the code.
"""
_TERMINAL = re.compile(r"%%terminal --solution (\d+)\n")
_PYTHON = re.compile(r"^# Solution of exercise (\d+), in Python\n", re.MULTILINE)


@dataclass
class Exercise:
    """The title and the hints of an exercise's check, and each solution as (language, text)."""

    title: str
    hints: tuple[str, ...]
    solutions: list[tuple[str, str]]


def exercises(cells: list[Any]) -> dict[int, Exercise]:
    """Return the exercises of a notebook's cells, by number."""
    found: dict[int, Exercise] = {}
    for cell in cells:
        tags, source = cell["metadata"].get("tags", []), "".join(cell["source"])
        if "check" in tags:
            for number, title, *hints in _calls(source):
                found[number] = Exercise(title, tuple(hints), [])
        if "solution" in tags:
            terminal, python = _TERMINAL.match(source), _PYTHON.match(source)
            if terminal:
                found[int(terminal[1])].solutions.append(("bash", source[terminal.end() :]))
            elif python:
                found[int(python[1])].solutions.append(("python", _without_question(source[python.end() :])))
            else:
                raise ValueError(f"a solution that begins otherwise than the others: {source[:60]!r}")
    return found


def _calls(source: str) -> Iterator[tuple[Any, ...]]:
    """Yield the number, title and hints of each `exercise(…)` in a check's cell."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "exercise":
            yield tuple(_text(one) for place, one in enumerate(node.args) if place != 2)


def _text(node: ast.expr) -> Any:
    """Return a constant, an f-string with … for its fields, or the source of another expression."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values)
        return "".join(parts)
    return ast.unparse(node)


def _without_question(source: str) -> str:
    """Return a solution in Python without its `if solution(N):` line."""
    lines, inside = [], False
    for line in source.splitlines():
        if re.fullmatch(r"if solution\(\d+\):", line):
            inside = True
        else:
            lines.append(line.removeprefix("    ") if inside else line)
    return "\n".join(lines) + "\n"


def plain(hint: str) -> str:
    """Escape Markdown outside of backticks, so that a hint is shown as the check prints it."""
    parts = hint.split("`")
    parts[::2] = [re.sub(r"([\\*_<\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def page() -> str:
    """Return the page's text."""
    parts = [_HEAD]
    for path in documents.notebooks():
        found = exercises(documents.read(path).cells)
        if found:
            parts.append(f"\n## [{tables.title(path)}](../notebooks/{path.name})\n")
        for number, one in sorted(found.items()):
            parts.append(f"\n### Exercise {number}: {one.title}\n\n")
            parts.extend(f"{place}. {plain(hint)}\n" for place, hint in enumerate(one.hints, 1))
            parts.extend(f"\n```{language}\n{text.strip()}\n```\n" for language, text in one.solutions)
    return "".join(parts)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0
