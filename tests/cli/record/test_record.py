"""The stored form of a notebook, and that one recording runs at a time."""

from __future__ import annotations

import copy
import io
import json
import tempfile
import threading
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from cli.record import record, rules
from cli.record.record import canonical
from cli.record.stand_ins import NOTE


def noisy() -> nbformat.NotebookNode:
    stream = nbformat.v4.new_output
    cell = nbformat.v4.new_code_cell(
        "print(1)",
        id="keep-me",
        execution_count=9,
        metadata={"tags": ["setup"], "papermill": {"duration": 1.2}, "execution": {"iopub.status.busy": "now"}},
        outputs=[
            stream("stream", name="stdout", text="one /home/me/runs/x/world/docker\n"),
            stream("stream", name="stderr", text="a bar\n"),
            stream("stream", name="stdout", text="two localhost:40001/x localhost:400019\n"),
            stream("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "bar"}),
            stream("execute_result", data={"text/plain": "'/home/me/runs/x/world'"}, execution_count=9),
        ],
    )
    metadata = {
        "papermill": {"start_time": "now"},
        "widgets": {},
        "language_info": {"name": "python", "version": "3.11.7"},
    }
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T", id="t"), cell], metadata=metadata)


def test_canonical_keeps_what_is_true_everywhere_and_nothing_else() -> None:
    replaced = (("/home/me/runs/x/world", ".sandbox"), ("localhost:40001", "localhost:5001"))
    found = json.loads(canonical(noisy(), replaced))
    cell = found["cells"][1]
    assert cell["id"] == "keep-me"
    assert cell["execution_count"] == 1
    assert cell["metadata"] == {"tags": ["setup"]}
    assert [one["output_type"] for one in cell["outputs"]] == ["stream", "execute_result"]
    assert cell["outputs"][0]["text"] == ["one .sandbox/docker\n", "two localhost:5001/x localhost:400019\n"]
    assert cell["outputs"][1]["data"]["text/plain"] == ["'.sandbox'"]
    assert cell["outputs"][1]["execution_count"] == 1
    assert set(found["metadata"]) == {"kernelspec", "language_info"}
    assert found["metadata"]["language_info"] == {"name": "python"}


def test_canonical_is_its_own_canonical_form() -> None:
    once = canonical(noisy())
    assert canonical(copy.deepcopy(nbformat.reads(once, as_version=4))) == once
    nbformat.validate(nbformat.reads(once, as_version=4))


def test_the_card_of_a_record_says_what_is_replaced_once() -> None:
    card = "0 · T\nTarget   sandbox\nProject  p\nRegion   r\n"
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", name="stdout", text=card)])
    once = canonical(nbformat.v4.new_notebook(cells=[cell]))
    assert once.count(NOTE) == 1
    assert canonical(nbformat.reads(once, as_version=4)) == once


def test_a_measured_size_stays_until_something_else_changes() -> None:
    def book(text: str) -> nbformat.NotebookNode:
        output = nbformat.v4.new_output("stream", name="stdout", text=text)
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(id="one", outputs=[output])])

    stored, moved, other = book("image  9.9 MB  x\n"), book("image  10.1 MB  x\n"), book("image  10.1 MB  y\n")
    rules.keep_stored(moved, stored)
    rules.keep_stored(other, stored)
    assert moved.cells[0].outputs[0].text == "image  9.9 MB  x\n"
    assert other.cells[0].outputs[0].text == "image  10.1 MB  y\n"


def test_a_cell_that_tells_only_of_its_engine_has_no_output() -> None:
    output = nbformat.v4.new_output("stream", name="stdout", text="BuildKit: skipped\n")
    cell = nbformat.v4.new_code_cell(outputs=[output])
    text = record.canonical(nbformat.v4.new_notebook(cells=[cell]))
    assert json.loads(text)["cells"][0]["outputs"] == []


def test_a_measured_time_stays_until_something_else_changes() -> None:
    def book(text: str) -> nbformat.NotebookNode:
        output = nbformat.v4.new_output("stream", name="stdout", text=text)
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("push()", id="push", outputs=[output])])

    fresh = book("12.3 s for 34.2 MB\n")
    rules.keep_stored(fresh, book("0.8 s for 34.2 MB\n"))
    assert fresh.cells[0].outputs[0].text == "0.8 s for 34.2 MB\n"
    rules.keep_stored(fresh, book("0.8 s for 3 images\n"))
    assert fresh.cells[0].outputs[0].text == "0.8 s for 34.2 MB\n"


def test_a_second_recording_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The lock of another folder: a real recording may run beside the tests.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said = io.StringIO()
    began = threading.Event()

    def second() -> None:
        with record.alone(Console(file=said, width=200)):
            began.set()

    with record.alone(Console(file=io.StringIO())):
        other = threading.Thread(target=second)
        other.start()
        while "begins when it ends" not in said.getvalue():
            began.wait(0.01)
        assert not began.is_set()
    other.join(timeout=10)
    assert began.is_set()
