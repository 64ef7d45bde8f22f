"""The runner on small notebooks: real papermill, real sandbox, real engine."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import nbformat
import pytest
from rich.console import Console

from cli.run import plans, report, runner, stale
from cli.run.plans import BadRequest, Plan
from cli.world import starter
from helpers.cell import about, documents
from machine import engine as machine_engine
from machine import processes
from tests.conditions import until

ROOT = Path(__file__).resolve().parents[3]
NotebookWriter = Callable[..., Path]
BEGIN = "from helpers import workbook\nwb = workbook.begin(0)"
PUSH = """from helpers import identity, images, projects, repositories, target
here = target.current()
projects.enable(wb.project, projects.ARTIFACT_REGISTRY)
repositories.create(wb.repository, labels=wb.labels)
identity.sign_in()
import contextlib, os
with contextlib.closing(images.engine()) as client:
    images.retag(client, os.environ["PYTHON_IMAGE"], here.docker_name(wb.image.tag("v1")))
pushed = images.push(wb.image.tag("v1"))
images.pull(pushed.digest)
print(pushed.digest)"""


def run(plan: Plan, runs: Path) -> tuple[runner.Outcome, str]:
    said = io.StringIO()
    outcome = runner.run(plan, Console(file=said, width=200), runs)
    return outcome, said.getvalue()


def summary(outcome: runner.Outcome) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((outcome.folder / "summary.json").read_text())
    return content


@pytest.mark.docker
def test_a_run_reports_what_it_pushed_and_leaves_nothing(
    engine: docker.DockerClient, python_image: str, write_notebook: NotebookWriter, tmp_path: Path
) -> None:
    first = write_notebook(
        "00_start.ipynb", BEGIN, "%%terminal\necho $PROJECT_ID", "print(size)", parameters="size = 1"
    )
    second = write_notebook("01_push.ipynb", BEGIN, PUSH)
    outcome, said = run(Plan((first, second), parameters={"size": 7}, strict=True), tmp_path / "runs")
    assert outcome.code == 0, said
    assert said.splitlines()[-1] == "OK"
    found = summary(outcome)
    counts = [(one["status"], one["cells"], one["of"]) for one in found["notebooks"]]
    assert counts == [("ok", 4, 4), ("ok", 2, 2)]
    (image,) = found["images"]
    assert image["agree"]
    assert image["engine"] == image["digest"]
    assert image["digest"] in said
    assert image["tags"] == ["v1"]
    shape = r"^(\d+\.\d\d) times the seconds of the terminal cells, (\d+\.\d\d) times those of all cells$"
    ratios = re.search(shape, said, re.MULTILINE)
    assert ratios
    assert float(ratios[1]) > float(ratios[2]) >= 1
    # The second notebook pushes in Python.
    assert 0 < found["terminal_seconds"] < found["python_seconds"] < found["seconds"]
    executed = nbformat.read(outcome.folder / "00_start.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "7\n"
    assert found["project"] in executed.cells[-2].outputs[0].text
    assert (outcome.folder / "01_push.html").stat().st_size > 1000
    assert 'failures="0"' in (outcome.folder / "junit.xml").read_text()
    assert (outcome.folder / "sandbox.log").exists()
    assert not (outcome.folder / "world").exists()
    left = [tag for one in engine.api.images() for tag in one["RepoTags"] or [] if found["project"] in tag]
    assert left == []
    assert "WORKBOOK_TARGET" not in os.environ


@pytest.mark.docker
def test_a_failing_cell_stops_the_run_and_is_named(
    python_image: str, write_notebook: NotebookWriter, tmp_path: Path
) -> None:
    first = write_notebook("00_fails.ipynb", BEGIN, "%%terminal\necho before\nfalse", "print('never')")
    second = write_notebook("01_never.ipynb", "print('never')")
    outcome, said = run(Plan((first, second)), tmp_path / "runs")
    assert outcome.code == 1
    last = said.splitlines()[-1]
    assert last.startswith("FAILED: 00_fails, cell 3 (cell-1): CommandFailed: exit status 1")
    assert str(outcome.folder / "00_fails.ipynb") in last
    assert [one["notebook"] for one in summary(outcome)["notebooks"]] == ["00_fails"]
    assert '<failure message="CommandFailed' in (outcome.folder / "junit.xml").read_text()
    assert not (outcome.folder / "world").exists()
    assert not (outcome.folder / "01_never.ipynb").exists()


@pytest.mark.docker
@pytest.mark.parametrize("strict", [False, True])
def test_commands_that_cant_run_are_counted(
    python_image: str, write_notebook: NotebookWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for tool in ("bash", "docker"):
            if (Path(folder) / tool).exists() and not (bin_folder / tool).exists():
                (bin_folder / tool).symlink_to(Path(folder) / tool)
    monkeypatch.setenv("PATH", str(bin_folder))
    notebook = write_notebook("00_gcloud.ipynb", BEGIN, "%%terminal\ngcloud version\ngcloud config list", "print('on')")
    outcome, said = run(Plan((notebook,), strict=strict), tmp_path / "runs")
    assert outcome.code == (1 if strict else 0), said
    expected = "FAILED: 2 commands not run" if strict else "PARTIAL: 2 commands not run (gcloud isn't on the PATH)"
    assert said.splitlines()[-1].startswith(expected)
    assert summary(outcome)["commands_not_run"]["count"] == 2


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cleans_up(
    python_image: str, write_notebook: NotebookWriter, tmp_path: Path, number: signal.Signals
) -> None:
    gate = tmp_path / "gate"
    notebook = write_notebook("00_long.ipynb", BEGIN, f"%%terminal\necho $$ > {gate}\nsleep 300", "print('never')")
    program = (
        "import sys; from pathlib import Path; from rich.console import Console; from cli.run import runner, plans;"
        "plan = plans.Plan((Path(sys.argv[1]),));"
        "sys.exit(runner.run(plan, Console(), Path(sys.argv[2])).code)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(notebook), str(tmp_path / "runs")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: process.poll() is not None or (gate.exists() and gate.read_text().strip() != ""))
        assert process.stdout is not None
        assert process.poll() is None, process.stdout.read()
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
        assert "INTERRUPTED" in process.stdout.read()
    assert processes.born(int(gate.read_text())) is None
    assert not list((tmp_path / "runs").glob("*/world"))
    assert sandboxes_below(tmp_path) == []


@pytest.mark.docker
def test_the_next_run_cleans_up_after_a_killed_one(
    python_image: str,
    found_engine: machine_engine.Engine,
    write_notebook: NotebookWriter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in machine_engine.environment(found_engine).items():
        monkeypatch.setenv(name, value)
    gate = tmp_path / "gate"
    notebook = write_notebook(
        "00_long.ipynb",
        BEGIN,
        f"open({str(gate)!r}, 'w').close()\ninput_never = __import__('threading').Event().wait()",
    )
    program = (
        "import sys; from pathlib import Path; from rich.console import Console; from cli.run import runner, plans;"
        "runner.run(plans.Plan((Path(sys.argv[1]),)), Console(), Path(sys.argv[2]))"
    )
    runs = tmp_path / "runs"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(notebook), str(runs)], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as process:
        until(gate.exists)
        assert stale.clean(runs, print) == ()
        process.kill()
        process.wait()
    (folder,) = runs.iterdir()
    assert starter.status(folder / "world").world is not None
    assert stale.clean(runs, print) == (folder,)
    assert not (folder / "world").exists()
    assert sandboxes_below(tmp_path) == []


def sandboxes_below(folder: Path) -> list[list[str]]:
    lines = (processes.command_line(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [line for line in lines if "sandbox" in line and any(str(folder) in word for word in line)]


def test_a_misspelt_parameter_is_refused_before_anything_starts(write_notebook: NotebookWriter, tmp_path: Path) -> None:
    notebook = write_notebook("00_start.ipynb", "print(size)", parameters="size = 1\ncolour = 'red'")
    with pytest.raises(BadRequest, match=r"parameter siez\. They know colour, size\."):
        run(Plan((notebook,), parameters={"siez": 7}), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_parameters_go_to_the_notebooks_that_have_them(write_notebook: NotebookWriter) -> None:
    first = write_notebook("00_a.ipynb", parameters="size = 1")
    second = write_notebook("01_b.ipynb", parameters="colour = 'red'")
    assert plans.require_parameters((first, second), {"size": 2}) == {first: {"size": 2}, second: {}}


def test_choose(write_notebook: NotebookWriter) -> None:
    first, second = write_notebook("00_a.ipynb", "1"), write_notebook("01_b.ipynb", "1")
    assert plans.choose("", first.parent) == (first, second)
    assert plans.choose("1", first.parent) == (second,)
    with pytest.raises(BadRequest, match=r"no notebook 07\. There are 00, 01"):
        plans.choose("7", first.parent)
    assert documents.code_cells(first) == 1


def test_a_run_on_google_leaves_out_what_needs_a_person(write_notebook: NotebookWriter) -> None:
    first = write_notebook("00_first.ipynb", "")
    second = write_notebook("01_second.ipynb", "")
    book = nbformat.read(second, as_version=4)
    book.metadata["workbook"] = {"outcome": "consent", "minutes": 5, "by_hand": "click"}
    nbformat.write(book, second)
    assert plans.choose("", first.parent) == (first, second)
    assert plans.choose("", first.parent, target="gcp") == (first,)
    assert plans.choose("01", first.parent, target="gcp") == (second,)


def test_a_notebook_whose_builds_run_gcloud_is_left_out_without_one(
    write_notebook: NotebookWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_notebook("00_first.ipynb", "print(1)", "%%terminal\ngcloud version\ngit version")
    book = nbformat.read(first, as_version=4)
    book.metadata["workbook"] = {"outcome": "ship", "minutes": 5, "gcloud": True}
    nbformat.write(book, first)
    monkeypatch.setattr(about.shutil, "which", lambda tool: None)
    assert about.read(first).lacking("gcp") == ""
    reason = about.read(first).lacking("sandbox")
    report.leave_out(tmp_path / "journal.jsonl", first, reason)
    (left,) = report.not_run(tmp_path / "journal.jsonl")
    assert (left.notebook, left.commands) == ("00_first", ("gcloud version", "git version"))
    assert left.reason == "gcloud isn't on the PATH"


@pytest.mark.parametrize(("target", "says"), [("gcp", "PROJECT="), ("aws", "sandbox or gcp")])
def test_a_plan_that_cant_be(target: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        Plan((), target=target)
