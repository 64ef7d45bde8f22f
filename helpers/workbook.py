"""`begin()`, the first cell of a notebook, shows the target and checks what the notebook needs."""

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
    """The results of earlier notebooks are missing. The message lists them with the notebooks that create them."""

    def _render_traceback_(self) -> list[str]:
        return [f"NotReady: {self}"]


@dataclass(frozen=True)
class Workbook:
    """The names that a notebook uses, and its target."""

    number: int
    title: str
    target: Target

    @property
    def project(self) -> names.Project:
        """The target's project."""
        return self.target.location.project

    @property
    def region(self) -> names.Location:
        """The region of that project."""
        return self.target.location

    @property
    def repository(self) -> names.Repository:
        """The workbook's repository, which notebook 2 creates."""
        return self.target.repository_name

    @property
    def image(self) -> names.Image:
        """The workbook's image, which notebook 4 pushes."""
        return self.repository.image(self.target.image)

    @property
    def labels(self) -> dict[str, str]:
        """The label for everything that a notebook creates."""
        return self.target.labels

    def requests(self) -> None:
        """Print the HTTP requests of the previous cell with status, method, address and body.

        On Google they come from gcloud's log, which has no bodies and no requests of Docker and Python.
        Raises requests.RequestException when the sandbox doesn't answer.
        """
        print(requests_seen.text(requests_seen.between(*_cells.before)))

    def leftovers(self) -> None:
        """Print what the run has created and not deleted. Changes nothing."""
        found = sweep.find(self.target)
        if not found:
            print("Nothing is left behind.")
            return
        for kind in ORDER:
            here = [one for one in found if one.kind == kind]
            # Digest references depend on the engine's cache. Prefer the tags, which were created on purpose.
            here = [one for one in here if "@" not in one.name or kind != "image"] or here
            if here:
                print(f"{kind}: {len(here)}")
            if kind == "repository":
                for one in here:
                    print(f"  {names.Repository.parse(one.name)}")


class _Cells:
    """The ends of the list of requests at the beginnings of the last two cells."""

    def __init__(self) -> None:
        self.marks: list[requests_seen.Mark] = []

    def begins(self, *_: object) -> None:
        """Mark that a cell begins. Ignore errors, which the cell itself will report."""
        with contextlib.suppress(OSError, target.NoTarget):
            self.marks = [*self.marks[-1:], requests_seen.mark(self.marks[-1] if self.marks else None)]

    @property
    def before(self) -> tuple[requests_seen.Mark, requests_seen.Mark]:
        """The beginning and the end of the previous cell."""
        if len(self.marks) < 2:
            raise NotReady("There is no cell before this one: run a command first, then ask which requests it made.")
        return self.marks[0], self.marks[1]


_cells = _Cells()


def begin(number: int) -> Workbook:
    """Print the card of notebook `number`, register `%%terminal`, and check what the notebook needs.

    Raises target.NoTarget without a target, and NotReady when results of an earlier notebook are missing.
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
    """Register the hook that marks each cell's beginning for `requests()`, but never twice."""
    with contextlib.suppress(ValueError):
        shell.events.unregister("pre_run_cell", _cells.begins)
    _cells.begins()
    shell.events.register("pre_run_cell", _cells.begins)


def card(workbook: Workbook) -> str:
    """Return the notebook's title, the target, the project and the region in four lines."""
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
    """Return a line with the number of exercises done, except in a run, whose card is always the same."""
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
    """Return a line for each missing result of an earlier notebook."""
    return [
        f"- {what} Run notebook {about.provider(foundation).stem} first."
        for foundation, what in fast_forward.missing(workbook.number, workbook.target)
    ]


def _notebook(number: int) -> tuple[str, str]:
    """Return the notebook's file stem and title, both from its number if there is no such notebook."""
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
