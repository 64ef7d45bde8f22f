"""The closing table of a run, as a terminal of 80 columns shows it."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from cli.run import report
from cli.run.execution import Result
from helpers.cell import documents


def test_the_table_cuts_no_notebook_s_name_in_80_columns(tmp_path: Path) -> None:
    said = io.StringIO()
    results = [Result(path.stem, tmp_path / path.name, 100, 100, 1234.5) for path in documents.notebooks()]
    report.print_table(Console(file=said, width=80), results, (), tmp_path)
    assert all(one.notebook in said.getvalue() for one in results)
