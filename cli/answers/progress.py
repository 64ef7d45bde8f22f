"""`workbook progress`: a learner's progress, one line for each notebook."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from helpers import answers, show
from helpers.answers import Standing
from helpers.cell import documents


def exercises() -> dict[str, int]:
    """Return the number of exercises in each notebook, by the file's stem."""
    return {path.stem: documents.exercises(path) for path in documents.notebooks()}


def table(of: Mapping[str, int], standings: Sequence[Standing]) -> str:
    """Return a table with one line for each notebook, and one for all. Pure."""
    rows = []
    for stem, count in of.items():
        here = [one for one in standings if one.notebook == stem]
        own, helped = (sum(one.how == how for one in here) for how in ("own", "solution"))
        minutes = sum(one.seconds for one in here if one.how) / 60
        rows.append((stem, count, own, helped, count - own - helped, sum(one.tries for one in here), f"{minutes:.0f}"))
    total = [sum(int(row[column]) for row in rows) for column in range(1, 7)]
    return show.table(
        [*rows, ("all", *total)],
        ("notebook", "exercises", "done alone", "with the solution", "open", "tries", "minutes"),
    )


def progress(home: Path, *, as_json: bool, say: Callable[[str], None]) -> int:
    """Print the progress of a world's learner, and return exit status 0."""
    standings = answers.read(home)
    if as_json:
        say(json.dumps({"exercises": exercises(), "standings": [asdict(one) for one in standings]}, indent=2))
    else:
        say(table(exercises(), standings))
    return 0
