"""Find out from the results of the learners' checks how far everybody is."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from helpers import answers

STUCK_AFTER: Final = dt.timedelta(minutes=10)
_STUCK_TRIES: Final = 2


@dataclass(frozen=True)
class Learner:
    """One row of the lead's page.

    Attributes:
        notebook: stem of the notebook with the last check; empty before the first.
        exercise: number of the exercise with the last check; 0 before the first.
        own: how many exercises were done without the solution.
        solution: how many exercises were done after the solution ran.
        tries: how often the check of the current exercise has failed.
        stuck: time of the first failure of a check that has failed twice or more and for ten minutes; else None.
        memory: bytes of all processes of the learner, shared pages counted in each.
        open: whether the learner's server runs.
    """

    name: str
    notebook: str = ""
    exercise: int = 0
    own: int = 0
    solution: int = 0
    tries: int = 0
    stuck: dt.datetime | None = None
    memory: int = 0
    open: bool = False


def learner(name: str, lines: Sequence[str], now: dt.datetime, *, memory: int = 0, is_open: bool = False) -> Learner:
    """Return how far one learner is. Pure."""
    standings = answers.standings(lines)
    own, solution = (sum(one.how == how for one in standings) for how in ("own", "solution"))
    last = max(answers.events(lines), key=lambda event: event.moment, default=None)
    if last is None:
        return Learner(name, memory=memory, open=is_open)
    current = next(one for one in standings if (one.notebook, one.exercise) == (last.notebook, last.exercise))
    failures = [
        event.moment
        for event in answers.events(lines)
        if (event.notebook, event.exercise) == (last.notebook, last.exercise)
        and event.event not in ("done", "solution")
    ]
    stuck = None
    if not current.how and len(failures) >= _STUCK_TRIES and now - failures[0] >= STUCK_AFTER:
        stuck = failures[0]
    return Learner(
        name, last.notebook, last.exercise, own, solution, 0 if current.how else current.tries, stuck, memory, is_open
    )


def memory(homes: Mapping[str, Path]) -> dict[str, int]:
    """Return the memory of each learner's processes: those with the learner's home in environment or arguments."""
    of = {str(home): name for name, home in homes.items()}
    found = dict.fromkeys(homes, 0)
    for process in psutil.process_iter():  # type: ignore[no-untyped-call]
        try:
            name = of.get(process.environ().get("WORKBOOK_HOME", ""))
            if name is None and "--home" in (words := process.cmdline()):
                name = of.get(words[words.index("--home") + 1])
            if name is not None:
                found[name] += process.memory_info().rss
        except (psutil.Error, OSError, IndexError):
            continue
    return found


def room(homes: Mapping[str, Path], opened: Iterable[str], now: dt.datetime) -> list[Learner]:
    """Return how far everybody in the room is, in the order of the class list."""
    running, taken = set(opened), memory(homes)
    return [
        learner(name, answers.lines(home), now, memory=taken[name], is_open=name in running)
        for name, home in homes.items()
    ]


def as_csv(homes: Mapping[str, Path]) -> str:
    """Return every exercise of every learner as CSV, for a spreadsheet."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(("learner", "notebook", "exercise", "done", "tries", "seconds"))
    for name, home in homes.items():
        for one in answers.read(home):
            table.writerow((name, one.notebook, one.exercise, one.how or "no", one.tries, round(one.seconds)))
    return text.getvalue()
