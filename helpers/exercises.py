"""Exercises: a check that inspects the result, hints, and a solution that runs only when somebody asks for it.

A notebook's exercise has three cells besides the learner's own: `exercise(1, …)` is the check, a cell that begins with
`if solution(1):` (or with `%%terminal --solution 1`) is a solution, and `solved(1)` is the check again.

In a run of whole notebooks every solution runs. In JupyterLab a solution waits for `solution(1, run=True)`, so that
Run All does no exercise for anybody; an exercise that is done already is left alone in both.
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
    """One exercise of the notebook that this kernel works on.

    Attributes:
        look: inspects the result, as in `helpers.checks.answer`.
        hints: the first is shown with the first answer that isn't ✓, the second after two tries.
        tries: how often the check was run without success.
    """

    number: int
    title: str
    look: Callable[[], object]
    hints: tuple[str, str]
    tries: int = 0


_exercises: dict[int, Exercise] = {}


def exercise(number: int, title: str, look: Callable[[], object], *hints: str) -> None:
    """Print whether an exercise is done, with a hint if it isn't, and keep the answer. Never raises for the learner.

    Args:
        number: 1 for the first exercise of a notebook.
        look: gives True when it is done, False when nothing is there yet, a text that says what was found otherwise.
        hints: two of them; the second is shown after two tries.

    Raises:
        ValueError: when there are not two hints, which is a fault of the notebook.
    """
    if len(hints) != len(_HINTS_AFTER):
        raise ValueError(f"exercise {number} has {len(hints)} hints; it needs {len(_HINTS_AFTER)}")
    before = _exercises.get(number)
    asked = Exercise(number, title, look, (hints[0], hints[1]), before.tries if before else 0)
    _exercises[number] = asked
    if _nobody_answers():
        return
    found = checks.answer(look)
    answers.note(number, found.state)
    if found.state in ("not yet", "wrong"):
        asked.tries += 1
    print(_line(asked, found))


def solution(number: int, *, run: bool = False) -> bool:
    """Return whether a solution cell is to run, and say in one line why it isn't.

    Args:
        run: what a learner writes to run it.
    """
    asked = _exercises.get(number)
    if asked is None:
        print(f"This kernel doesn't know exercise {number} yet: {_RUN_ABOVE}.")
        return False
    if _nobody_answers():
        return False
    if checks.answer(asked.look).state == "done":
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
        NotDone: in a run, when it still isn't done after some seconds; a learner gets the line only.
    """
    asked = _exercises.get(number)
    if asked is None:
        print(f"This kernel doesn't know exercise {number} yet: {_RUN_ABOVE}.")
        return
    if in_a_run():
        checks.done(asked.title, asked.look, asked.hints[0])
        answers.note(number, "done")
        return
    if _nobody_answers():
        return
    found = checks.answer(asked.look)
    answers.note(number, found.state)
    print(_line(asked, found))


def in_a_run() -> bool:
    """Return whether whole notebooks are being run, and not read by a learner."""
    return "WORKBOOK_JOURNAL" in os.environ


def _nobody_answers() -> bool:
    """Say so when the sandbox is down: an answer would be about that, and not about the exercise."""
    down = "" if in_a_run() else mistakes.sandbox_down(os.environ)
    if down:
        print(down)
    return bool(down)


def _line(asked: Exercise, found: Answer) -> str:
    shown = [hint for hint, after in zip(asked.hints, _HINTS_AFTER, strict=True) if asked.tries > after]
    return found.line(asked.title, "\n  Hint: ".join(shown or asked.hints[:1]))
