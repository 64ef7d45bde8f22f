"""The rule for a notebook's metadata: it is valid, and agrees with the card and the cells."""

from __future__ import annotations

import re

from cli.run import spending
from helpers.cell import about, commands
from helpers.leftovers import ORDER
from tests.notebooks.shape import Findings, Json, code, rule


def apis_of(book: Json) -> set[str]:
    """Return the APIs that a notebook enables, in terminal cells or in Python, except refused ones."""
    found: set[str] = set()
    for cell in code(book):
        first, _, script = cell["source"].partition("\n")
        if "--refused" in first:
            continue
        # Each command of a terminal cell, but a whole Python cell, because a call may span lines.
        texts = commands.split(script) if first.startswith("%%terminal") else [cell["source"]]
        for text in texts:
            if "gcloud services enable" in text or "projects.enable(" in text:
                found.update(re.findall(r"(?<![\w-])[a-z]+\.googleapis\.com", text))
    return found


@rule("about")
def _(name: str, book: Json, there: set[str]) -> Findings:
    card = book["cells"][0]
    try:
        found = about.of(name, book)
        spending.uses_of(name, found)
    except about.BadMetadata as error:
        yield card["id"], str(error)
        return
    if not found.outcome:
        yield card["id"], "metadata.workbook is missing: CONTRIBUTING.md shows what it holds"
    minutes = re.search(r"\*\*Time\*\*: (\d+) minutes", card["source"])
    if not minutes or int(minutes[1]) != found.minutes:
        yield card["id"], f"the card's time is not the metadata's, '**Time**: {found.minutes} minutes'"
    if set(found.apis) != apis_of(book):
        yield card["id"], f"the cells enable {sorted(apis_of(book))}, the metadata says {sorted(found.apis)}"
    if foreign := set(found.leaves) - set(ORDER):
        yield card["id"], f"helpers/leftovers.py knows no {sorted(foreign)[0]!r}: it has {', '.join(ORDER)}"
