"""Notebooks as learners use them: run again, resumed after a restart, with and without the exercises done.

The long run has every notebook in five ways; `make test` has a slice: notebook 0 runs twice, and is resumed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from cli.world.starter import World
from helpers import fast_forward, sweep, target
from helpers.cell import documents
from helpers.target import ROOT, Target
from machine.engine import Engine
from tests import worlds

SOAK = bool(os.environ.get("WORKBOOK_SOAK"))
NOTEBOOKS = [path.name for path in documents.notebooks()]
SLICE = ("00",)

_CLEAN_UP = ("cleanup", "cleanup-python", "remove", "remove-budget", "remove-python")


def _execute(
    book: NotebookNode, environment: dict[str, str], cells: Sequence[int] | None = None, *, times: int = 1
) -> list[str]:
    """Run all cells, or those of these numbers, in a kernel of their own; gives what failed, as `cell: error`.

    Each cell is run so many times before the next one.
    """
    client = NotebookClient(book, timeout=600, resources={"metadata": {"path": str(ROOT / "notebooks")}})
    failed = []
    with client.setup_kernel(env=environment):
        for index in range(len(book.cells)) if cells is None else cells:
            cell = book.cells[index]
            try:
                for _ in range(times):
                    client.execute_cell(cell, index)
            except CellExecutionError as error:
                failed.append(f"{cell.id}: {error.ename}: {error.evalue}")
    return failed


def _said(book: NotebookNode, tag: str) -> list[str]:
    """What the cells with a tag printed."""
    return [
        "".join(output.get("text", "") for output in cell.get("outputs", []))
        for cell in book.cells
        if tag in cell.metadata.get("tags", [])
    ]


def _leaves_nothing(book: NotebookNode) -> bool:
    """Whether the notebook says that it removes what it made."""
    texts = [cell.source for cell in book.cells if cell.cell_type == "markdown"]
    left = "".join(texts).partition("## What this leaves behind")[2].strip()
    return left.startswith(("Nothing", "Enabled APIs"))


def _there() -> set[str]:
    """What the run has made and not removed; a reference by digest comes and goes with the engine's cache."""
    return {f"{one.kind} {one.name}" for one in sweep.find(target.current()) if "@" not in one.name}


def _asked_for(book: NotebookNode, *, terminal: bool) -> NotebookNode:
    """The notebook with each solution asked for, as a learner does who unfolds it."""
    for cell in book.cells:
        if "solution" not in cell.metadata.get("tags", []):
            continue
        first, _, rest = cell.source.partition("\n")
        if first.startswith("%%terminal"):
            cell.source = f"{first}{' --run' if terminal else ''}\n{rest}"
        elif not terminal or not any(
            one.source.startswith(f"%%terminal --solution {_number(cell)}") for one in book.cells
        ):
            cell.source = cell.source.replace(
                f"if solution({_number(cell)}):", f"if solution({_number(cell)}, run=True):"
            )
    return book


def _number(cell: NotebookNode) -> str:
    return cell.source.partition("if solution(")[2].partition(")")[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world for each test: what one way of solving leaves behind, the other would find done."""
    with worlds.opened(tmp_path / "world") as opened:
        yield opened


@pytest.fixture
def environment(world: World, run_id: str) -> dict[str, str]:
    """The environment of a learner's shell in that world."""
    return worlds.environment(world, run_id)


@pytest.fixture
def learners(environment: dict[str, str], in_world: Target) -> dict[str, str]:
    """The environment of JupyterLab's kernels in this world."""
    return {name: value for name, value in environment.items() if name != "WORKBOOK_JOURNAL"}


@pytest.fixture
def ready(found_engine: Engine, python_image: str, in_world: Target) -> Callable[[str], NotebookNode]:
    """Make what a notebook builds on; gives the notebook."""

    def make(name: str) -> NotebookNode:
        fast_forward.fast_forward(int(name[:2]))
        return nbformat.read(ROOT / "notebooks" / name, as_version=4)

    return make


def _planted(**cells: str) -> NotebookNode:
    begin = "from helpers import workbook\n\nwb = workbook.begin(0)"
    sources = {"begin": begin, **cells}
    return nbformat.v4.new_notebook(
        metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        cells=[nbformat.v4.new_code_cell(source, id=name) for name, source in sources.items()],
    )


@pytest.mark.docker
def test_cell_that_fails_when_run_twice_is_reported(learners: dict[str, str]) -> None:
    once = "import os\nfrom pathlib import Path\n\nPath(os.environ['WORKBOOK_HOME'], 'once').mkdir()"
    book = _planted(once=once, made="left = [1]", taken="left.pop()")
    assert _execute(book, learners) == []
    assert [one.partition(":")[0] for one in _execute(book, learners)] == ["once"]
    assert [one.partition(":")[0] for one in _execute(book, learners, times=2)] == ["once", "taken"]


@pytest.mark.docker
def test_cell_that_depends_on_a_solution_is_reported(learners: dict[str, str]) -> None:
    book = _planted(
        check="from helpers.exercises import exercise, solution\n\nexercise(1, 'a', lambda: False, 'b', 'c')",
        solution="if solution(1):\n    made = 1",
        after="print(made)",
    )
    assert [one.partition(":")[0] for one in _execute(book, learners)] == ["after"]


@pytest.mark.docker
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if SOAK or name.startswith(SLICE)])
def test_run_all_twice_without_doing_an_exercise(
    ready: Callable[[str], NotebookNode], learners: dict[str, str], name: str
) -> None:
    """The second time in a new kernel: Restart and Run All."""
    book = ready(name)
    before = _there()
    assert _execute(book, learners) == []
    if _leaves_nothing(book):
        assert _there() <= before
    assert not any(said.startswith("✓") for said in _said(book, "solution-check"))
    ready(name)  # notebook 10 has taken away what it builds on
    assert _execute(book, learners) == []


@pytest.mark.docker
@pytest.mark.skipif(not SOAK, reason="long: make soak")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_cell_may_run_twice_in_a_row(
    ready: Callable[[str], NotebookNode], learners: dict[str, str], name: str
) -> None:
    """Shift+Enter, and the same cell once more."""
    assert _execute(ready(name), learners, times=2) == []


@pytest.mark.docker
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if SOAK or name.startswith(SLICE)])
def test_notebook_survives_restarts_and_repeated_clean_up(
    ready: Callable[[str], NotebookNode], learners: dict[str, str], name: str
) -> None:
    """Run All Above in a new kernel at each exercise, before anything is cleaned up; then to the end."""
    book = ready(name)
    for index, cell in enumerate(book.cells):
        if "exercise" in cell.metadata.get("tags", []):
            assert _execute(book, learners, range(index)) == [], f"Run All Above at {cell.id}"
    last = max(index for index, cell in enumerate(book.cells) if "solution-check" in cell.metadata.get("tags", []))
    clean_up = [index for index, cell in enumerate(book.cells) if index > last and cell.id in _CLEAN_UP]
    assert _execute(book, learners, [*range(len(book.cells)), *clean_up]) == []


@pytest.mark.docker
@pytest.mark.skipif(not SOAK, reason="long: make soak")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["python", "terminal"])
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_solution_solves_and_then_has_nothing_to_do(
    ready: Callable[[str], NotebookNode], learners: dict[str, str], name: str, way: str
) -> None:
    book = _asked_for(ready(name), terminal=way == "terminal")
    assert _execute(book, learners) == []
    assert [said.splitlines()[0][0] for said in _said(book, "solution-check")] == ["✓"] * len(
        _said(book, "solution-check")
    )
    done = [said for said in _said(book, "solution") if "is done already" in said]
    # Solutions in gcloud come first; one that wasn't asked for leaves the exercise to the one in Python.
    first = sum(cell.source.startswith("%%terminal --solution") for cell in book.cells) if way == "terminal" else 0
    assert len(done) == first, "of two solutions the second finds the exercise done"
