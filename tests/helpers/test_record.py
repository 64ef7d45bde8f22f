"""The stored form of a notebook, and that only a whole run writes it."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from helpers import record
from helpers.record import canonical

NotebookWriter = Callable[..., Path]


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


@pytest.mark.docker
@pytest.mark.slow
def test_record_writes_back_only_a_whole_run(python_image: str, write_notebook: NotebookWriter, tmp_path: Path) -> None:
    begin = "from helpers import workbook\nwb = workbook.begin(0)"
    good = write_notebook("00_good.ipynb", begin, "%%terminal\necho $REGISTRY_HOST; echo $DOCKER_CONFIG")
    bad = write_notebook("01_bad.ipynb", "1/0")
    before = good.read_text(), bad.read_text()
    said = Console(file=io.StringIO(), width=200)
    assert record.record((good, bad), said, tmp_path / "runs").code == 1
    assert (good.read_text(), bad.read_text()) == before
    assert record.record((good,), said, tmp_path / "runs").code == 0
    shown = "".join(json.loads(good.read_text())["cells"][2]["outputs"][0]["text"])
    assert shown.splitlines()[:2] == ["localhost:5001", ".sandbox/docker"]
    card = "".join(json.loads(good.read_text())["cells"][1]["outputs"][0]["text"])
    assert "ml-workbook (number" in card
    assert str(tmp_path) not in good.read_text()
    assert [path.name for path in good.parent.iterdir() if path.suffix == ".partial"] == []
