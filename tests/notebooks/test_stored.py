"""Each kind of stale output is found, even those that nbval alone ignores."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from cli.record import record
from helpers.cell import documents
from tests.notebooks.stored import RULES, disagreements

FIRST, SECOND = (hashlib.sha256(f"digest {place}".encode()).hexdigest() for place in (1, 2))
PICTURE = nbformat.v4.new_output("display_data", data={"image/svg+xml": "<svg/>", "text/plain": "Picture"})


def said(text: str) -> Any:
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def notebook(change: Callable[[Any], object] = lambda book: None) -> str:
    """Return a changed recorded notebook of four code cells."""
    listed = f"two images\n@sha256:{'a' * 64}\n@sha256:{'b' * 64}\n"
    table = "version  size     uploaded\na        34.2 MB  2026-11-02T09:00:03.000000Z\nopenssl  3.0.17-1~deb12u2  x\n"
    cells = [
        nbformat.v4.new_markdown_cell("# T", id="title"),
        nbformat.v4.new_code_cell("wb = workbook.begin(0)", id="begin"),
        nbformat.v4.new_code_cell("print(found)", id="list", outputs=[said(listed), PICTURE]),
        nbformat.v4.new_code_cell("check('it is there', look)", id="check", outputs=[said("○ it is there: not yet\n")]),
        nbformat.v4.new_code_cell("print(table)", id="table", outputs=[said(table)]),
    ]
    book = nbformat.reads(record.canonical(nbformat.v4.new_notebook(cells=cells)), as_version=4)
    change(book)
    return documents.text(book)


def say(place: int, old: str, new: str) -> Callable[[Any], None]:
    """Return a fault that replaces text in the first output of a cell."""

    def plant(book: Any) -> None:
        output = book.cells[place].outputs[0]
        assert old in output.text
        output.text = output.text.replace(old, new)

    return plant


FAULTS: list[tuple[Callable[[Any], object], str, str]] = [
    (say(2, "two images", "one image"), "list", "its outputs differ"),
    (lambda book: book.cells[2].outputs.clear(), "list", "its outputs differ"),
    (lambda book: book.cells[2].outputs.pop(), "list", "it shows 1 pictures, and 0 are stored"),
    (lambda book: book.cells[2].update(execution_count=None), "list", "it was never run"),
    (lambda book: book.cells[2].update(execution_count=None, outputs=[]), "list", "it was never run"),
    (lambda book: book.cells[1].update(execution_count=None), "begin", "it was never run"),
    (say(3, "○ it is there: not yet", "✓ it is there"), "check", "its outputs differ"),
    (say(4, "openssl", "libssl3"), "table", "its outputs differ"),
    (say(4, "2026-11-02", "2026-11-03"), "table", "its outputs differ"),
    # The pattern of digests: one image where there were two.
    (say(2, SECOND, FIRST), "list", "its outputs differ"),
    (lambda book: book.cells[2].metadata.update(tags=["raises-exception"]), "list", "nbval is told to look away"),
    (lambda book: book.cells[2].metadata.update(tags=["nbval-skip"]), "list", "nbval is told to look away"),
    (lambda book: book.cells[2].update(source="# NBVAL_IGNORE_OUTPUT"), "list", "nbval is told to look away"),
    (lambda book: book.cells.pop(), "['table']", "there are other cells"),
]


@pytest.mark.parametrize(("plant", "cell", "says"), FAULTS)
def test_fault_is_reported_with_its_cell(
    plant: Callable[[Any], object], cell: str, says: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found = list(disagreements(notebook(plant), notebook(), tmp_path, request.session))
    assert any(one.startswith(f"{cell}: {says}") for one in found), found


@pytest.mark.parametrize(
    "change",
    [
        lambda book: None,
        say(4, "09:00:03.000000Z", "09:00:05.120000Z"),
        say(4, "34.2 MB  ", "101.7 MB   "),
        say(4, "3.0.17-1~deb12u2", "3.0.18-1~deb12u1"),
        say(2, FIRST, "0a" * 32),
    ],
)
def test_differences_of_the_world_are_no_fault(
    change: Callable[[Any], object], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert not list(disagreements(notebook(change), notebook(), tmp_path, request.session))


def test_nbval_reads_all_of_the_few_rules() -> None:
    text = RULES.read_text(encoding="utf-8")
    rules = re.findall(r"^regex: .+\nreplace: .+$", text, re.MULTILINE)
    assert 0 < len(rules) <= 10
    assert (
        len(rules)
        == len(re.findall(r"^\[\w+\]$", text, re.MULTILINE))
        == len(re.findall("^regex:", text, re.MULTILINE))
    )
