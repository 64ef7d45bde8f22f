"""What the lead sees of each learner, from lines of answers."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from helpers import answers
from room import overview

NOW = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)


def line(minutes: float, event: str, exercise: int = 1, notebook: str = "02_create_a_repository") -> str:
    """An event so many minutes before NOW."""
    moment = (NOW - dt.timedelta(minutes=minutes)).isoformat()
    return json.dumps({"time": moment, "notebook": notebook, "exercise": exercise, "event": event})


def test_nobody_has_begun() -> None:
    assert overview.learner("ada", [], NOW) == overview.Learner("ada")


def test_who_tries_in_vain_for_ten_minutes_is_stuck() -> None:
    lines = [line(30, "done", 1), line(12, "not yet", 2), line(3, "wrong", 2)]
    found = overview.learner("ada", lines, NOW)
    assert (found.notebook, found.exercise, found.own, found.tries) == ("02_create_a_repository", 2, 1, 2)
    assert found.stuck == NOW - dt.timedelta(minutes=12)


def test_one_try_or_a_few_minutes_are_not_stuck() -> None:
    assert overview.learner("ada", [line(60, "not yet")], NOW).stuck is None
    assert overview.learner("ada", [line(9, "not yet"), line(1, "not yet")], NOW).stuck is None


def test_who_got_it_is_not_stuck_however_it_came() -> None:
    tried = [line(40, "not yet"), line(30, "not yet")]
    alone = overview.learner("ada", [*tried, line(1, "done")], NOW)
    assert (alone.stuck, alone.tries, alone.own, alone.solution) == (None, 0, 1, 0)
    helped = overview.learner("ada", [*tried, line(2, "solution"), line(1, "done")], NOW)
    assert (helped.stuck, helped.own, helped.solution) == (None, 0, 1)


def test_a_damaged_line_hides_nobody() -> None:
    assert overview.learner("ada", ["{", "[]", line(1, "done")], NOW).own == 1


def test_the_room_is_in_the_order_of_the_list(tmp_path: Path) -> None:
    homes = {name: tmp_path / name for name in ("grace", "ada")}
    homes["ada"].mkdir()
    (homes["ada"] / answers.NAME).write_text(line(1, "done") + "\n", encoding="utf-8")
    people = overview.room(homes, ["ada"], NOW)
    assert [(one.name, one.open, one.own) for one in people] == [("grace", False, 0), ("ada", True, 1)]
    assert overview.as_csv(homes).splitlines() == [
        "learner,notebook,exercise,done,tries,seconds",
        "ada,02_create_a_repository,1,own,0,0",
    ]
