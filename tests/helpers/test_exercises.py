"""Exercises as a learner meets them: what a check says, when a solution runs, and what is kept of it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import answers, exercises
from helpers.cell import terminal
from helpers.checks import NotDone
from helpers.exercises import exercise, solution, solved


@pytest.fixture(autouse=True)
def learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner in notebook 3, with a kernel that knows no exercise yet."""
    monkeypatch.setenv("WORKBOOK_HOME", str(tmp_path))
    monkeypatch.setenv("WORKBOOK_NOTEBOOK", "03_sign_in")
    monkeypatch.delenv("WORKBOOK_JOURNAL", raising=False)
    monkeypatch.setattr(exercises, "_exercises", {})
    return tmp_path


def ask(found: object, number: int = 1) -> None:
    exercise(number, "the push works", lambda: found, "look at the host", "docker push NAME")


def standing(home: Path) -> answers.Standing:
    (only,) = answers.read(home)
    return only


def test_the_second_hint_comes_after_two_tries(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        ask(False)
        assert capsys.readouterr().out == "○ the push works: not yet\n  Hint: look at the host\n"
    ask("the host is wrong")
    said = capsys.readouterr().out
    assert said.startswith("✗ the push works: wrong, because the host is wrong\n")
    assert said.endswith("  Hint: look at the host\n  Hint: docker push NAME\n")


def test_an_exercise_done_alone(learner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(False)
    ask(True)
    assert not solution(1)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "✓ the push works",
        "Exercise 1 is done already: the solution has nothing to do.",
    ]
    found = standing(learner)
    assert (found.notebook, found.exercise, found.how, found.tries) == ("03_sign_in", 1, "own", 1)


def test_a_solution_waits_until_somebody_asks_for_it(learner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {"done": False}
    exercise(1, "the push works", lambda: state["done"], "look", "look again")
    assert not solution(1)
    assert "did not run" in capsys.readouterr().out
    if solution(1, run=True):
        state["done"] = True
    solved(1)
    assert capsys.readouterr().out == "✓ the push works\n"
    assert standing(learner).how == "solution"


def test_what_is_done_alone_stays_so_whatever_comes_after(learner: Path) -> None:
    ask(True)
    ask(False)
    assert solution(1, run=True)
    ask(True)
    assert standing(learner).how == "own"


def test_an_open_exercise_stops_no_learner_and_ends_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask(False)
    solved(1)
    monkeypatch.setenv("WORKBOOK_JOURNAL", str(tmp_path / "journal.jsonl"))
    assert solution(1)
    exercise(1, "the push works", lambda: "the host is wrong", "look", "look again")
    with pytest.raises(NotDone, match="the host is wrong"):
        solved(1)


def test_a_kernel_that_knows_nothing_says_so(learner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not solution(2, run=True)
    solved(2)
    assert capsys.readouterr().out.count("doesn't know exercise 2 yet: run the cells above first") == 2

    def look() -> object:
        return client.list()  # type: ignore[name-defined]  # noqa: F821

    exercise(1, "the push works", look, "look", "look again")
    said = capsys.readouterr().out
    assert (
        said == "○ the push works: this kernel doesn't know `client` yet. Run the cells above, then this one again.\n"
    )
    assert answers.read(learner) == ()


def test_a_sandbox_that_is_down_is_no_wrong_answer(
    learner: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("WORKBOOK_TARGET", "sandbox")
    monkeypatch.setenv("SANDBOX_URL", f"http://127.0.0.1:{port}")
    ask("ProxyError: no connection")
    assert not solution(1, run=True)
    solved(1)
    assert capsys.readouterr().out.count("The sandbox doesn't run") == 3
    assert answers.read(learner) == ()


def test_two_hints_are_a_rule() -> None:
    with pytest.raises(ValueError, match="1 hints; it needs 2"):
        exercise(1, "the push works", lambda: True, "only one")


def test_a_terminal_solution_has_the_same_gate(
    learner: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal._Gate, "solution", staticmethod(solution))
    made = learner / "made"
    exercise(1, "it is there", made.exists, "look", "look again")
    terminal.terminal("--solution 1", f"touch {made}")
    assert not made.exists()
    terminal.terminal("--solution 1 --run", f"touch {made}")
    assert made.exists()
    solved(1)
    assert standing(learner).how == "solution"
    terminal.terminal("--solution 1 --run", f"rm {made}")
    assert made.exists()


def test_a_full_disk_takes_no_answer_away(learner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (learner / answers.NAME).mkdir()
    ask(True)
    assert capsys.readouterr().out == "✓ the push works\n"


EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 3), st.sampled_from(["done", "not yet", "wrong", "solution"]))
)


@given(EVENTS, st.data())
def test_any_events_fold_into_one_standing_each(events: list[tuple[str, int, str]], data: st.DataObject) -> None:
    lines = [
        json.dumps({"time": f"2026-11-28T07:00:{place % 60:02}+00:00", "notebook": n, "exercise": e, "event": what})
        for place, (n, e, what) in enumerate(events)
    ]
    damaged = data.draw(st.sampled_from(["", "{", "[]", '{"time": 1}', '{"notebook": "a", "exercise": "x"}']))
    found = answers.standings([damaged, *lines])
    assert {(one.notebook, one.exercise) for one in found} == {(n, e) for n, e, _ in events}
    for one in found:
        mine = [what for n, e, what in events if (n, e) == (one.notebook, one.exercise)]
        before = mine[: mine.index("done")] if "done" in mine else mine
        assert one.how == ("" if "done" not in mine else "solution" if "solution" in before else "own")
        assert one.tries == sum(what in ("not yet", "wrong") for what in before)
