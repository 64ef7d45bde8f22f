"""`begin()`: the first cell of a notebook. It says where the commands go, and checks what the notebook builds on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import answers, exercises, fast_forward, names, sweep, target
from helpers.cell import about, documents, kernel, mistakes, requests_seen
from helpers.leftovers import ORDER
from helpers.target import Target


class NotReady(RuntimeError):
    """What earlier notebooks leave behind isn't there. The message lists it, and says which notebook makes it."""

    def _render_traceback_(self) -> list[str]:
        return [f"NotReady: {self}"]


@dataclass(frozen=True)
class Workbook:
    """The values that a notebook works with, as names, and the world it works in."""

    number: int
    title: str
    target: Target

    @property
    def project(self) -> names.Project:
        """The project."""
        return self.target.location.project

    @property
    def region(self) -> names.Location:
        """The region of that project."""
        return self.target.location

    @property
    def repository(self) -> names.Repository:
        """The workbook's repository; notebook 2 makes it."""
        return self.target.repository_name

    @property
    def image(self) -> names.Image:
        """The workbook's image; notebook 4 pushes it."""
        return self.repository.image(self.target.image)

    @property
    def labels(self) -> dict[str, str]:
        """The label that everything created here carries."""
        return self.target.labels

    def requests(self) -> None:
        """Print the HTTP calls that the cell before this one made: status, method, address, and the body.

        On Google they come from gcloud's own log, which has no bodies, and nothing of Docker's or Python's.
        Raises requests.RequestException when the sandbox doesn't answer.
        """
        print(requests_seen.text(requests_seen.between(*_cells.before)))

    def leftovers(self) -> None:
        """Print what this world holds now. It changes nothing; the runner removes it after a run."""
        found = sweep.find(self.target)
        if not found:
            print("Nothing is left behind.")
            return
        for kind in ORDER:
            here = [one for one in found if one.kind == kind]
            # A reference by digest comes and goes with the engine's cache; those by tag are what somebody made.
            here = [one for one in here if "@" not in one.name or kind != "image"] or here
            if here:
                print(f"{kind}: {len(here)}")
            if kind == "repository":
                for one in here:
                    print(f"  {names.Repository.parse(one.name)}")


class _Cells:
    """Where the list of requests ended when each of the last two cells began."""

    def __init__(self) -> None:
        self.marks: list[requests_seen.Mark] = []

    def begins(self, *_: object) -> None:
        """Mark that a cell begins. A sandbox that doesn't answer is for the cell itself to tell."""
        with contextlib.suppress(OSError, target.NoTarget):
            self.marks = [*self.marks[-1:], requests_seen.mark(self.marks[-1] if self.marks else None)]

    @property
    def before(self) -> tuple[requests_seen.Mark, requests_seen.Mark]:
        """The beginning and the end of the cell before the one that runs."""
        if len(self.marks) < 2:
            raise NotReady("There is no cell before this one: run a command first, then ask which requests it made.")
        return self.marks[0], self.marks[1]


_cells = _Cells()


def begin(number: int) -> Workbook:
    """Print the card of notebook `number`, register `%%terminal`, and check what the notebook needs.

    Raises target.NoTarget when no world is set, and NotReady when an earlier notebook wasn't run in this world.
    """
    here = target.current()
    stem, title = _notebook(number)
    os.environ["WORKBOOK_NOTEBOOK"] = stem
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython else None
    if shell is not None:
        kernel.load(shell, exercises.solution)
        _watch(shell)
    workbook = Workbook(number, title, here)
    down = mistakes.sandbox_down(os.environ)
    if down:
        raise NotReady(down)
    print(card(workbook))
    path = next((one for one in documents.notebooks() if about.number(one) == number), None)
    if path is not None and (absent := about.read(path).lacking(here.name)):
        raise NotReady(f"{absent}, and this notebook's builds run it: `make setup` downloads it.")
    missing = lacking(workbook)
    if missing:
        shortcut = f"Or let the workbook do it: from helpers.fast_forward import fast_forward; fast_forward({number})"
        raise NotReady("\n".join(["This notebook builds on what isn't there yet:", *missing, shortcut]))
    return workbook


def _watch(shell: Any) -> None:
    """Note where each cell begins, for `requests()`; once, however often the first cell is run."""
    with contextlib.suppress(ValueError):
        shell.events.unregister("pre_run_cell", _cells.begins)
    _cells.begins()
    shell.events.register("pre_run_cell", _cells.begins)


def card(workbook: Workbook) -> str:
    """Return the notebook's title, the world, the project and the region.

    These are four lines, the same on every run in that world.
    """
    number = f" (number {workbook.target.project_number})" if workbook.target.project_number else ""
    return "\n".join(
        (
            workbook.title,
            f"Target   {workbook.target.sentence}",
            f"Project  {workbook.project}{number}",
            f"Region   {workbook.region}",
            *_exercises_done(workbook),
        )
    )


def _exercises_done(workbook: Workbook) -> list[str]:
    """Say how many of the notebook's exercises the learner has done.

    A run of all notebooks says nothing, so that its card is always the same.
    """
    home = os.environ.get("WORKBOOK_HOME")
    if not home or exercises.in_a_run():
        return []
    done = [one for one in answers.read(Path(home)) if one.how]
    stem = _notebook(workbook.number)[0]
    here = sum(one.notebook == stem for one in done)
    totals = {path.stem: documents.exercises(path) for path in documents.notebooks()}
    whole = sum(totals.values())
    return [
        f"Done     {here} of {totals.get(stem, 0)} exercises here, {len(done)} of {whole} in all "
        "(`.venv/bin/workbook progress` lists them)"
    ]


def lacking(workbook: Workbook) -> list[str]:
    """Return what earlier notebooks should have left behind and haven't, one line each."""
    return [
        f"- {what} Run notebook {about.provider(foundation).stem} first."
        for foundation, what in fast_forward.missing(workbook.number, workbook.target)
    ]


def _notebook(number: int) -> tuple[str, str]:
    """Return the file's stem and the notebook's H1; the bare number where the notebook isn't written yet."""
    for path in documents.notebooks():
        if about.number(path) == number:
            return path.stem, _heading(path) or _words(number, path.stem)
    return f"{number:02}", str(number)


def _heading(path: Path) -> str:
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            found = re.match(r"# (.+)", source)
            return found[1].strip() if found else ""
    return ""


def _words(number: int, stem: str) -> str:
    return f"{number} · {stem[3:].replace('_', ' ').capitalize()}"
