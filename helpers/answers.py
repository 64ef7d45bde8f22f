"""What became of each exercise: kept in the learner's folder, counted by `workbook progress` and the certificate.

One line of JSON for each event, in the order in which they came: a file that a kill can only leave shorter.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

NAME: Final = "progress.jsonl"
How = Literal["own", "solution", ""]


@dataclass(frozen=True)
class Standing:
    """How far the learner is with one exercise.

    Attributes:
        notebook: the file's stem, `03_sign_in`.
        how: `own` when the check passed without the solution, `solution` when the solution ran first, empty before.
        tries: how often the check said something else than ✓ before that.
        seconds: from the first look to ✓; 0 before.
    """

    notebook: str
    exercise: int
    how: How
    tries: int
    seconds: float


def note(exercise: int, event: str) -> None:
    """Append an event: `done`, `not yet`, `wrong`, `unknown` or `solution`. A full disk loses it silently."""
    home = os.environ.get("WORKBOOK_HOME")
    if not home or event == "unknown":
        return
    # Wall clock: the sandbox's may be weeks ahead.
    moment = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    entry = {"time": moment, "notebook": os.environ.get("WORKBOOK_NOTEBOOK", ""), "exercise": exercise, "event": event}
    # An answer that can't be kept must not take a learner's ✓ away.
    with contextlib.suppress(OSError), (Path(home) / NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


@dataclass(frozen=True)
class Event:
    """One thing that a learner's check or solution said; the wall clock's time."""

    moment: dt.datetime
    notebook: str
    exercise: int
    event: str


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Read the events of a learner's file; a damaged line is left out. Pure."""
    for line in lines:
        try:
            entry = json.loads(line)
            moment = dt.datetime.fromisoformat(entry["time"])
            yield Event(moment, str(entry["notebook"]), int(entry["exercise"]), str(entry["event"]))
        except (ValueError, KeyError, TypeError):
            continue


def lines(home: Path) -> list[str]:
    """Return the lines of a learner's file; none where there is no file."""
    path = home / NAME
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def without(kept: Iterable[str], notebook: str) -> list[str]:
    """Leave out the events of a notebook that is begun anew, and the damaged lines. Pure."""
    return [line for line in kept for event in events([line]) if event.notebook != notebook]


def read(home: Path) -> tuple[Standing, ...]:
    """Return where each exercise stands that was looked at, by notebook and number. A damaged line is left out."""
    return standings(lines(home))


def standings(lines: Iterable[str]) -> tuple[Standing, ...]:
    """Fold events into standings; the first ✓ counts, whatever comes after it. Pure."""
    found: dict[tuple[str, int], Standing] = {}
    began: dict[tuple[str, int], dt.datetime] = {}
    helped: set[tuple[str, int]] = set()
    for one in events(lines):
        key, event, moment = (one.notebook, one.exercise), one.event, one.moment
        began.setdefault(key, moment)
        now = found.get(key, Standing(*key, "", 0, 0.0))
        if now.how:
            continue
        if event == "solution":
            helped.add(key)
        elif event == "done":
            seconds = max((moment - began[key]).total_seconds(), 0.0)
            now = Standing(*key, "solution" if key in helped else "own", now.tries, seconds)
        else:
            now = Standing(*key, "", now.tries + 1, 0.0)
        found[key] = now
    return tuple(found[key] for key in sorted(found))
