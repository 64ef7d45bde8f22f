"""The learner's answers to exercises, for `workbook progress` and the certificate.

The file has one line of JSON for each event, so that a crash can only cut off the end.
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
    """The learner's state with one exercise.

    Attributes:
        notebook: the file's stem, `03_sign_in`.
        how: `own` if the check passed without the solution, `solution` if the solution ran first, or empty if not done.
        tries: the number of unsuccessful checks before.
        seconds: from the first check to ✓, or 0 if not done.
    """

    notebook: str
    exercise: int
    how: How
    tries: int
    seconds: float


def note(exercise: int, event: str) -> None:
    """Append an event: `done`, `not yet`, `wrong`, `unknown` or `solution`. Errors of the disk are ignored."""
    home = os.environ.get("WORKBOOK_HOME")
    if not home or event == "unknown":
        return
    # The machine's clock, since the sandbox's may be weeks ahead.
    moment = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    entry = {"time": moment, "notebook": os.environ.get("WORKBOOK_NOTEBOOK", ""), "exercise": exercise, "event": event}
    # An error here must not hide the learner's ✓.
    with contextlib.suppress(OSError), (Path(home) / NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


@dataclass(frozen=True)
class Event:
    """One event of an exercise, by the machine's clock."""

    moment: dt.datetime
    notebook: str
    exercise: int
    event: str


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a learner's file, without damaged lines. Pure."""
    for line in lines:
        try:
            entry = json.loads(line)
            moment = dt.datetime.fromisoformat(entry["time"])
            yield Event(moment, str(entry["notebook"]), int(entry["exercise"]), str(entry["event"]))
        except (ValueError, KeyError, TypeError):
            continue


def lines(home: Path) -> list[str]:
    """Return the lines of a learner's file, if there is one."""
    path = home / NAME
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def without(kept: Iterable[str], notebook: str) -> list[str]:
    """Return the lines without a notebook's events and without damaged lines. Pure."""
    return [line for line in kept for event in events([line]) if event.notebook != notebook]


def read(home: Path) -> tuple[Standing, ...]:
    """Return the standing of each exercise with an event, by notebook and number."""
    return standings(lines(home))


def standings(lines: Iterable[str]) -> tuple[Standing, ...]:
    """Fold events into standings. Events after the first ✓ are ignored. Pure."""
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
