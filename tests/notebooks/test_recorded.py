"""The main job: every notebook in sequence, as `make record` runs them, and what is stored in them is still true.

One pass serves both. The notebooks run in the world of a recording (its project, its clock), through the runner that a
learner starts, and where a single command that was not run is a failure. It stops at the first cell that fails. Then
what they printed is brought into the canonical form of a recording, and nbval compares it with what is stored.

Compared is every output of every code cell, apart from what sanitize.cfg leaves out, and apart from the bytes of
pictures: of them their number, and the text that stands beside them. `make soak` compares whole files, byte by byte.
Recordings run one at a time on a machine, so that every test which makes one is in this file.
What neither can see is a check that can't fail. The exercises show that: each check is stored once before its solution,
where it says "not yet", and once after it.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import nbformat
import pytest
from rich.console import Console

from cli.record import record
from cli.record.stand_ins import StandIns
from helpers.cell import documents
from tests import runs
from tests.notebooks.stored import disagreements, said

NotebookWriter = Callable[..., Path]

PATHS = documents.notebooks()
NOTEBOOKS = [path.stem for path in PATHS]

slow = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]


def marked(test: Callable[..., None]) -> Callable[..., None]:
    """A test that needs the run."""
    for mark in slow:
        test = mark(test)
    return test


@dataclass(frozen=True)
class Run(runs.Run):
    """A finished run of all notebooks; `fresh` are their canonical texts by path, none of a run that failed."""

    fresh: dict[Path, str]

    def outputs(self, notebook: str) -> dict[str, str]:
        """What each code cell of an executed notebook printed, by cell id."""
        content = json.loads((self.folder / f"{notebook}.ipynb").read_text())
        return {
            cell["id"]: "".join(said(part) for part in cell["outputs"])
            for cell in content["cells"]
            if cell["cell_type"] == "code"
        }


@pytest.fixture(scope="module")
def recorded(python_image: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every notebook, run as a recording and written nowhere; only where gcloud is."""
    if not shutil.which("gcloud"):
        pytest.skip("gcloud isn't on the PATH; the run in test_sequence.py is what this machine can do")
    said = io.StringIO()
    outcome = record.rehearse(PATHS, Console(file=said, width=200), tmp_path_factory.mktemp("runs"))
    fresh = record.texts(outcome, PATHS) if outcome.code == 0 else {}
    summary = json.loads((outcome.folder / "summary.json").read_text())
    return Run(outcome.code, said.getvalue(), outcome.folder, summary, fresh)


def differences(stored: str, fresh: str) -> Iterator[str]:
    """`cell: what differs` for two notebooks; none when they are the same bytes."""
    before, after = (json.loads(text) for text in (stored, fresh))
    ids = [[cell["id"] for cell in book["cells"]] for book in (before, after)]
    if ids[0] != ids[1]:
        yield f"{sorted({*ids[0]} ^ {*ids[1]})}: there are other cells, or they stand in another order"
        return
    for old, new in zip(before["cells"], after["cells"], strict=True):
        for part in sorted(old.keys() | new.keys()):
            if old.get(part) != new.get(part):
                yield f"{old['id']}: its {part} differ\n{_sides(old.get(part), new.get(part))}"
    if stored != fresh and before["cells"] == after["cells"]:
        yield f"{ids[0][0]}: the notebook's metadata or its layout differ"


def _sides(old: Any, new: Any) -> str:
    """The first lines that aren't the same."""
    before, after = (json.dumps(value, indent=1, ensure_ascii=False).splitlines() for value in (old, new))
    at = next((place for place, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), 0)
    return "\n".join(
        [
            *(f"  stored: {line.strip()}" for line in before[at : at + 3]),
            *(f"  now:    {line.strip()}" for line in after[at : at + 3]),
        ]
    )


@marked
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_nbval_finds_stored_outputs_true(
    recorded: Run, path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """If this fails and the change is meant: `make record`, and look at the difference before you commit it."""
    assert recorded.status == 0, recorded.output
    stored = path.read_text(encoding="utf-8")
    found = disagreements(stored, recorded.fresh[path], tmp_path, request.session)
    assert not (told := [f"{path.name}#{one}" for one in found]), "\n".join(told)


@marked
@pytest.mark.skipif(
    not os.environ.get("WORKBOOK_SOAK"), reason="byte by byte only in make soak: bases and clients move"
)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_recording_reproduces_the_stored_bytes(recorded: Run, path: Path) -> None:
    assert recorded.status == 0, recorded.output
    stored, fresh = _untimed(path.read_text(encoding="utf-8")), _untimed(recorded.fresh[path])
    found = [f"{path.name}#{one}" for one in differences(stored, fresh)]
    assert not found, "\n".join(found)


def _untimed(text: str) -> str:
    """A record without how long something took: nothing else may differ on one machine."""
    return re.sub(r" *\b\d+\.\d s\b", " … s", text)


def _tags(run: Run) -> dict[str, str]:
    return {tag: image["digest"] for image in run.summary["images"] for tag in image["tags"]}


@marked
def test_every_notebook_ends_well(recorded: Run) -> None:
    assert recorded.status == 0, recorded.output
    assert recorded.summary["verdict"] == "OK"
    assert [one["notebook"] for one in recorded.summary["notebooks"]] == NOTEBOOKS
    assert all(one["status"] == "ok" and one["cells"] == one["of"] for one in recorded.summary["notebooks"])
    assert recorded.output.rstrip().endswith("OK")


@marked
def test_pulled_digest_is_the_pushed_one(recorded: Run) -> None:
    images = recorded.summary["images"]
    assert {"1.0.0", "1.0.1"} <= _tags(recorded).keys()
    # Others were made in the registry itself, and the engine has never seen them.
    pulled = [image for image in images if "ml-predictor" in image["image"] and {"1.0.0", "1.0.1"} & set(image["tags"])]
    assert len(pulled) == 2
    assert all(image["agree"] and image["digest"] == image["engine"] for image in pulled)
    printed = recorded.outputs("04_build_and_push")["pull"]
    assert _tags(recorded)["1.0.0"] in printed
    assert _tags(recorded)["1.0.0"] in recorded.output


@marked
def test_changed_line_pushes_one_small_layer(recorded: Run) -> None:
    outputs = recorded.outputs("04_build_and_push")
    assert outputs["change-size"] == "layers that are new: 1\nless than 100 kB: True\n"
    assert outputs["change"].count("Layer already exists") == 4


@marked
def test_where_docker_names_an_image_google_s_name_is_told_once(recorded: Run) -> None:
    for notebook in NOTEBOOKS:
        told: list[str] = []
        named = False
        content = json.loads((recorded.folder / f"{notebook}.ipynb").read_text())
        for cell in content["cells"]:
            if cell["cell_type"] == "code" and "".join(cell["source"]).startswith("%%terminal"):
                text = "".join(said(part) for part in cell["outputs"])
                told += re.findall(r"^On Google: (.+)$", text, re.MULTILINE)
                named = named or re.search(r"^docker (?:push|pull) ", "".join(cell["source"]), re.MULTILINE) is not None
        forms = ["@" in name for name in told]
        assert bool(told) >= named, notebook
        # By tag, by digest, and without either.
        assert len(told) <= 3, told
        assert forms.count(True) <= 1, told
        assert not any("localhost" in name for name in told)


@marked
def test_no_output_holds_a_secret(recorded: Run) -> None:
    for file in recorded.folder.iterdir():
        if file.suffix in (".ipynb", ".json", ".jsonl", ".xml", ".log", ".html"):
            text = file.read_text(errors="replace")
            assert not re.search(r"ya29\.\w|eyJ[\w-]{8,}\.[\w-]{8,}|BEGIN [A-Z ]*PRIVATE KEY", text), file.name


@marked
def test_nothing_is_left_behind(recorded: Run, engine: docker.DockerClient) -> None:
    assert not (recorded.folder / "world").exists()
    label = f"workbook-run={recorded.summary['run']}"
    assert engine.containers.list(all=True, filters={"label": label}) == []
    references = [reference for image in engine.api.images() for reference in image["RepoTags"] or []]
    assert not [reference for reference in references if f"/{recorded.summary['project']}/" in reference]


@marked
def test_reports_exist(recorded: Run) -> None:
    suite = ET.parse(recorded.folder / "junit.xml").getroot()  # noqa: S314 - written by the run itself
    cases = list(suite.iter("testcase"))
    assert len(cases) == len(NOTEBOOKS)
    assert not list(suite.iter("failure"))
    for notebook in NOTEBOOKS:
        assert "<h1" in (recorded.folder / f"{notebook}.html").read_text()


@marked
def test_only_a_whole_run_is_written_back(python_image: str, write_notebook: NotebookWriter, tmp_path: Path) -> None:
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


def notebook() -> nbformat.NotebookNode:
    """A recorded notebook of two cells."""
    output = nbformat.v4.new_output("stream", name="stdout", text="one image\n")
    cells = [
        nbformat.v4.new_markdown_cell("# T", id="title"),
        nbformat.v4.new_code_cell("print(found)", id="list", execution_count=1, outputs=[output]),
    ]
    return nbformat.reads(record.canonical(nbformat.v4.new_notebook(cells=cells)), as_version=4)


def stored(change: Callable[[nbformat.NotebookNode], object] = lambda book: None) -> str:
    book = notebook()
    change(book)
    return documents.text(book)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda book: book.cells[1].outputs[0].update(text="two images\n"), "list: its outputs differ"),
        (lambda book: book.cells[1].outputs.clear(), "list: its outputs differ"),
        (lambda book: book.cells[1].update(execution_count=None), "list: its execution_count differ"),
        (lambda book: book.cells[1].update(source="print(1)"), "list: its source differ"),
        (lambda book: book.cells[1].metadata.update(tags=["check"]), "list: its metadata differ"),
        (lambda book: book.cells.pop(), "['list']: there are other cells"),
        (lambda book: book.metadata.update(papermill={}), "title: the notebook's metadata"),
    ],
)
def test_what_differs_is_named_by_its_cell(fault: Callable[[nbformat.NotebookNode], object], says: str) -> None:
    found = list(differences(stored(fault), stored()))
    assert len(found) == 1
    assert says in found[0]


def test_same_bytes_do_not_differ() -> None:
    assert list(differences(stored(), stored())) == []


def test_only_measured_times_may_differ() -> None:
    def told(seconds: str, size: str) -> str:
        return _untimed(stored(lambda book: book.cells[1].outputs[0].update(text=f"push  {seconds} s  {size} MB\n")))

    assert list(differences(told("0.8", "9.5"), told("12.3", "9.5"))) == []
    assert list(differences(told("0.8", "9.5"), told("0.8", "9.6")))


def test_other_digests_are_no_difference_and_another_number_of_them_is() -> None:
    """What the stand-ins are for: the same pattern of names reads the same, another one doesn't."""

    def text(*digests: str) -> str:
        return StandIns().apply("\n".join(f"sha256:{digest * 64}" for digest in digests))

    assert text("a", "b", "a") == text("c", "d", "c")
    assert text("a", "b", "a") != text("c", "d", "d")


@marked
def test_deployed_service_predicts_the_same_as_the_container(recorded: Run) -> None:
    local = recorded.outputs("04_build_and_push")["run"].split()[0]
    assert local == "setosa"
    assert recorded.outputs("06_build_in_the_cloud")["call-python"].split()[0] == local
