"""Generate the tables of README and docs/going_to_google.md from the notebooks' metadata: `make docs`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from cli.readiness import needs
from cli.run import spending
from helpers.cell import about, documents

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
GOOGLE = ROOT / "docs" / "going_to_google.md"
LIMIT = 1.0  # `workbook real` without --max-usd
_NOTEBOOKS = "| notebook | you will be able to | minutes |\n|---|---|---|\n"
_ROLES = "   | role | for | first in notebook |\n   |---|---|---|\n"


def title(path: Path) -> str:
    """Return a notebook's heading."""
    card = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    found = re.match(r"# (.+)", card)
    assert found, f"{path.name}: the first cell has no heading"
    return found[1]


def readme(text: str, notebooks: Sequence[Path]) -> str:
    """Return README with its table of notebooks and its costs up to date."""
    rows = [
        f"| [{title(path)}](notebooks/{path.name}) | {found.outcome} | {found.minutes} |\n"
        for path in notebooks
        if (found := about.read(path))
    ]
    run = [path for path in notebooks if not about.read(path).by_hand]
    total = math.ceil(sum(spending.estimate(path) for path in run) * 20) / 20
    stop = spending.stops_before(notebooks, LIMIT)
    assert stop, "README says that the usual limit stops a whole run"
    text = re.sub(r"(?<=costs up to )[\d.]+(?= USD)|(?<=--max-usd )[\d.]+", f"{total:.2f}", text)
    text = re.sub(r"(?<=the run ends\sbefore notebook )\d+", str(about.number(stop)), text)
    return _table(text, _NOTEBOOKS, rows)


def google(text: str, notebooks: Sequence[Path]) -> str:
    """Return docs/going_to_google.md with its table of roles up to date."""
    rows = []
    for need in needs.roles(notebooks):
        assert need.purpose, f"{need.role}: the first notebook that needs it says what for"
        rows.append(f"   | `{need.role}` | {need.purpose} | {need.notebooks(need.uses)[0]} |\n")
    return _table(text, _ROLES, rows)


def _table(text: str, head: str, rows: Sequence[str]) -> str:
    before, found, after = text.partition(head)
    assert found, f"there is no table that begins {head!r}"
    lines = after.splitlines(keepends=True)
    while lines and lines[0].lstrip().startswith("|"):
        del lines[0]
    return "".join([before, head, *rows, *lines])


def main() -> int:
    """Write the pages."""
    notebooks = documents.notebooks()
    README.write_text(readme(README.read_text(encoding="utf-8"), notebooks), encoding="utf-8")
    GOOGLE.write_text(google(GOOGLE.read_text(encoding="utf-8"), notebooks), encoding="utf-8")
    return 0
