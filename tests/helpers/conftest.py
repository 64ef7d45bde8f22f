"""Notebooks made for one test, and the `workbook` command as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from helpers.target import ROOT

NotebookWriter = Callable[..., Path]


@pytest.fixture
def write_notebook(tmp_path: Path) -> NotebookWriter:
    """Write `NN_name.ipynb` into a folder of the test's own, one code cell for each text."""

    def write(name: str, *cells: str, parameters: str = "", heading: str = "A notebook") -> Path:
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        notebook = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        )
        notebook.cells.append(nbformat.v4.new_markdown_cell(f"# {heading}", id="title"))
        if parameters:
            notebook.cells.append(
                nbformat.v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]})
            )
        for number, source in enumerate(cells):
            notebook.cells.append(nbformat.v4.new_code_cell(source, id=f"cell-{number}"))
        path = folder / name
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture
def workbook(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `workbook VERB …` in the world, with more variables of the test's own if need be."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "helpers.cli", *arguments],
            cwd=ROOT,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run
