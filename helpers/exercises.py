"""Exercises: a check that inspects the result, hints, and a solution that runs only on request.

A notebook's exercise has three cells besides the learner's own: `exercise(1, …)` is the check, a cell that begins with
`if solution(1):` (or with `%%terminal --solution 1`) is a solution, and `solved(1)` is the check again.

In a run of whole notebooks every solution runs. In JupyterLab a solution needs `solution(1, run=True)`, so that Run
All doesn't do the learner's exercises. The solution of an exercise that is done never runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from helpers import answers, checks
from helpers.cell import mistakes
from helpers.checks import Answer

_HINTS_AFTER = (0, 2)  # tries after which the first and the second hint are shown
_RUN_ABOVE = "run the cells above first (Run → Run All Above Selected Cell)"


@dataclass
class Exercise:
    """One exercise of the kernel's notebook.

    Attributes:
        look: inspects the result, as in `helpers.checks.answer`.
        hints: the first is shown with the first answer that isn't ✓, the second after two tries.
        tries: the number of unsuccessful checks.
    """

    number: int
    title: str
    look: Callable[[], object]
    hints: tuple[str, str]
    tries: int = 0


_exercises: dict[int, Exercise] = {}


def exercise(number: int, title: str, look: Callable[[], object], *hints: str) -> None:
    """Print whether an exercise is done, with a hint if it isn't, and store the answer.

    Args:
        number: 1 for the first exercise of a notebook.
        look: returns True when it is done, False when nothing is there yet, or a text that says what is wrong.
        hints: two hints, the second of which is shown after two tries.

    Raises:
        ValueError: if there aren't two hints, which is a mistake in the notebook.
    """
    if len(hints) != len(_HINTS_AFTER):
        raise ValueError(f"exercise {number} has {len(hints)} hints; it needs {len(_HINTS_AFTER)}")
    before = _exercises.get(number)
    this = Exercise(number, title, look, (hints[0], hints[1]), before.tries if before else 0)
    _exercises[number] = this
    if _is_sandbox_down():
        return
    found = checks.answer(look)
    answers.note(number, found.state)
    if found.state in ("not yet", "wrong"):
        this.tries += 1
    print(_line(this, found))


def solution(number: int, *, run: bool = False) -> bool:
    """Return whether a solution cell should run. If not, print the reason.

    Args:
        run: whether the learner requested it.
    """
    this = _exercises.get(number)
    if this is None:
        print(f"This kernel doesn't know exercise {number} yet: {_RUN_ABOVE}.")
        return False
    if _is_sandbox_down():
        return False
    if checks.answer(this.look).state == "done":
        print(f"Exercise {number} is done already: the solution has nothing to do.")
        return False
    if in_a_run() or run:
        answers.note(number, "solution")
        return True
    print(
        f"The solution of exercise {number} did not run. Try it yourself first. To run it, unfold this cell (•••) and "
        f"write solution({number}, run=True), or in a terminal cell --solution {number} --run, then run it again."
    )
    return False


def solved(number: int) -> None:
    """Check an exercise again, after its solution.

    Raises:
        NotDone: in a run, when it still isn't done after some seconds.
    """
    this = _exercises.get(number)
    if this is None:
        print(f"This kernel doesn't know exercise {number} yet: {_RUN_ABOVE}.")
        return
    if in_a_run():
        checks.done(this.title, this.look, this.hints[0])
        answers.note(number, "done")
        return
    if _is_sandbox_down():
        return
    found = checks.answer(this.look)
    answers.note(number, found.state)
    print(_line(this, found))


def in_a_run() -> bool:
    """Return whether whole notebooks are being run, not cells by a learner."""
    return "WORKBOOK_JOURNAL" in os.environ


def _is_sandbox_down() -> bool:
    """Return whether the sandbox is down, and print what to do, because a check would report a misleading error."""
    down = "" if in_a_run() else mistakes.sandbox_down(os.environ)
    if down:
        print(down)
    return bool(down)


def _line(this: Exercise, found: Answer) -> str:
    shown = [hint for hint, after in zip(this.hints, _HINTS_AFTER, strict=True) if this.tries > after]
    return found.line(this.title, "\n  Hint: ".join(shown or this.hints[:1]))
