"""The ways in which a notebook can pass although something failed are all detected.

Measured with papermill, nbval and nbmake: `!false`, `!false | cat`, a failing line early in `%%bash`, an unknown magic
that swallows the `raise` after it, a cell tagged raises-exception that raises nothing, a misspelt parameter, a cell
that was never run, stale outputs, a trailing `;`. A rule of the shape detects those in the text (test_shape.py),
nbval's comparison those in the outputs (test_stored.py), and this file those that only a run shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from cli.run import execution
from helpers.target import Target

BEGIN = "from helpers import workbook\n\nwb = workbook.begin(0)"
CHECKS = "from helpers.checks import done, refused"
FAULTS = {
    "a-failing-line": "!false",
    "an-early-line": "!false\nprint('on')",
    "an-unknown-magic": "%no_such_magic\nraise ValueError('unseen')",
    "an-early-line-of-bash": "%%terminal\nfalse\necho on",
    "the-begin-of-a-pipe": "%%terminal\nfalse | cat",
    "an-unset-variable": '%%terminal\necho "$NO_SUCH_VARIABLE"',
    "no-refusal": "%%terminal --refused denied\ntrue",
    "another-refusal": "%%terminal --refused denied\nfalse",
    "nothing-raised": "with refused(ValueError):\n    pass",
    "something-else-raised": "with refused(ValueError):\n    {}['key']",
    "an-unsolved-exercise": "done('it is there', lambda: False, seconds=0)",
}


def written(folder: Path, *cells: tuple[str, str]) -> Path:
    book = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        cells=[nbformat.v4.new_code_cell(source, id=name) for name, source in cells],
    )
    path = folder / "00_faults.ipynb"
    nbformat.write(book, path)
    return path


@pytest.fixture(scope="module")
def ended(module_world: Target, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The status of each cell, run in one kernel that continues after errors."""
    cells = [("begin", BEGIN), ("checks", CHECKS), *FAULTS.items(), ("fine", "!true")]
    path = written(tmp_path_factory.mktemp("faults"), *cells)
    replies: dict[str, str] = {}

    # The reply instead of the outputs, because an unknown magic leaves no output of type "error".
    def keep(cell: Any, cell_index: int, execute_reply: Any) -> None:
        replies[cell.id] = execute_reply["content"]["status"]

    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=60, kernel_name="python3", allow_errors=True, on_cell_executed=keep).execute()
    return replies


@pytest.fixture(scope="module")
def module_world(environment: dict[str, str]) -> Iterator[Target]:
    """This file's world, with this process's environment set to it."""
    from helpers import target

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield target.current()


@pytest.mark.parametrize("fault", FAULTS)
def test_failing_cell_ends_with_an_error(ended: dict[str, str], fault: str) -> None:
    assert ended[fault] == "error", f"{fault} passed"


def test_passing_cell_ends_without_an_error(ended: dict[str, str]) -> None:
    assert [ended[name] for name in ("begin", "checks", "fine")] == ["ok", "ok", "ok"]


def test_runner_stops_at_the_failing_cell_and_names_it(module_world: Target, tmp_path: Path) -> None:
    path = written(tmp_path, ("begin", BEGIN), ("fault", FAULTS["an-unknown-magic"]), ("after", "print('never')"))
    result = execution.execute(path, tmp_path / "ran.ipynb", {})
    assert result.failure is not None
    assert (result.notebook, result.failure.cell_id) == ("00_faults", "fault")
    cells = json.loads((tmp_path / "ran.ipynb").read_text())["cells"]
    assert [cell["outputs"] for cell in cells if cell["id"] == "after"] == [[]]
