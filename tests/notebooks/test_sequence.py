"""The main job: every notebook in sequence, through the runner that a learner starts, with and without gcloud."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
_GCLOUD = ("gcloud", "docker-credential-gcloud")

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("sequence")]


@dataclass(frozen=True)
class Run:
    """A finished `workbook run`."""

    status: int
    output: str
    folder: Path
    summary: dict[str, Any]

    def outputs(self, notebook: str) -> dict[str, str]:
        """What each code cell of an executed notebook printed, by cell id."""
        content = json.loads((self.folder / f"{notebook}.ipynb").read_text())
        return {
            cell["id"]: "".join("".join(part.get("text", "")) for part in cell["outputs"])
            for cell in content["cells"]
            if cell["cell_type"] == "code"
        }


def _run(*more: str, path: str | None = None) -> Run:
    ran = subprocess.run(
        [sys.executable, "-m", "helpers.cli", "run", *more],
        cwd=ROOT,
        env={**os.environ, "PATH": path or os.environ["PATH"], "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    found = re.search(r"^Files: (.+)$", ran.stdout, re.MULTILINE)
    assert found, ran.stdout
    folder = Path(found[1].strip())
    return Run(ran.returncode, ran.stdout, folder, json.loads((folder / "summary.json").read_text()))


@pytest.fixture(scope="module")
def strict(python_image: str) -> Run:
    """Every notebook, where a single command that was not run is a failure; only where gcloud is."""
    if not shutil.which("gcloud"):
        pytest.skip("gcloud isn't on the PATH; the partial run below is what this machine can do")
    return _run("--strict")


@pytest.fixture(scope="module")
def partial(python_image: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every notebook on a machine without gcloud."""
    folder = tmp_path_factory.mktemp("bin")
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for tool in Path(place).glob("*"):
            link = folder / tool.name
            if tool.name not in _GCLOUD:
                link.unlink(missing_ok=True)
                link.symlink_to(tool)
    return _run(path=str(folder))


def _tags(run: Run) -> dict[str, str]:
    return {tag: image["digest"] for image in run.summary["images"] for tag in image["tags"]}


def test_every_notebook_ends_well(strict: Run) -> None:
    assert strict.status == 0, strict.output
    assert strict.summary["verdict"] == "OK"
    assert [one["notebook"] for one in strict.summary["notebooks"]] == NOTEBOOKS
    assert all(one["status"] == "ok" and one["cells"] == one["of"] for one in strict.summary["notebooks"])
    assert strict.output.rstrip().endswith("OK")


def test_the_digest_that_was_pushed_is_the_digest_that_was_pulled(strict: Run) -> None:
    images = strict.summary["images"]
    assert {"1.0.0", "1.0.1"} <= _tags(strict).keys()
    pulled = [image for image in images if image["engine"]]
    assert pulled
    assert all(image["agree"] and image["digest"] == image["engine"] for image in pulled)
    printed = strict.outputs("04_build_and_push")["pull"]
    assert _tags(strict)["1.0.0"] in printed
    assert _tags(strict)["1.0.0"] in strict.output


def test_a_changed_line_pushes_one_small_layer(strict: Run) -> None:
    outputs = strict.outputs("04_build_and_push")
    assert outputs["change-size"] == "layers that are new: 1\nless than 100 kB: True\n"
    assert outputs["change"].count("Layer already exists") == 4


def test_where_the_sandbox_s_address_is_shown_google_s_command_is_too(strict: Run) -> None:
    for notebook in NOTEBOOKS:
        content = json.loads((strict.folder / f"{notebook}.ipynb").read_text())
        for cell in content["cells"]:
            if cell["cell_type"] == "code" and "".join(cell["source"]).startswith("%%terminal"):
                text = "".join("".join(part.get("text", "")) for part in cell["outputs"])
                shown = re.search(r"localhost:\d+", text)
                assert ("On Google: " in text) is bool(shown), f"{notebook}#{cell['id']}: {text}"


def test_no_output_holds_a_secret(strict: Run) -> None:
    for file in strict.folder.iterdir():
        if file.suffix in (".ipynb", ".json", ".jsonl", ".xml", ".log", ".html"):
            text = file.read_text(errors="replace")
            assert not re.search(r"ya29\.\w|eyJ[\w-]{8,}\.[\w-]{8,}|BEGIN [A-Z ]*PRIVATE KEY", text), file.name


def test_nothing_is_left_behind(strict: Run, engine: docker.DockerClient) -> None:
    assert not (strict.folder / "world").exists()
    label = f"workbook-run={strict.summary['run']}"
    assert engine.containers.list(all=True, filters={"label": label}) == []
    references = [reference for image in engine.images.list() for reference in image.tags]
    assert not [reference for reference in references if strict.summary["project"] in reference]


def test_the_reports_are_there(strict: Run) -> None:
    suite = ET.parse(strict.folder / "junit.xml").getroot()  # noqa: S314 - written by the run itself
    cases = list(suite.iter("testcase"))
    assert len(cases) == len(NOTEBOOKS)
    assert not list(suite.iter("failure"))
    for notebook in NOTEBOOKS:
        assert "<h1" in (strict.folder / f"{notebook}.html").read_text()


def test_without_gcloud_the_same_end_is_reached_and_the_run_says_partial(partial: Run) -> None:
    assert partial.status == 0, partial.output
    assert partial.summary["verdict"].startswith("PARTIAL")
    count = partial.summary["commands_not_run"]["count"]
    assert count > 20
    last = partial.output.rstrip().splitlines()[-1]
    assert last.startswith(f"PARTIAL: {count} commands not run")
    assert {"1.0.0", "1.0.1"} <= _tags(partial).keys()
    assert all(image["agree"] for image in partial.summary["images"] if image["engine"])
