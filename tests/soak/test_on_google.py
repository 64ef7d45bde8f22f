"""The whole workbook with `--target gcp`, where a proxy sends requests for Google's hosts to the sandbox.

This runs in `make soak`. `make test` has a slice, tests/cli/test_on_google.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.run import runner
from cli.run.plans import Plan
from helpers.cell import documents
from tests import on_google
from tests.notebooks.stored import said
from tests.on_google import ROOT, Google, Run

pytestmark = [
    pytest.mark.docker,
    pytest.mark.gcloud,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("WORKBOOK_SOAK"), reason="half an hour: make soak"),
]


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory, gcloud: Path) -> Iterator[Google]:
    with on_google.played(tmp_path_factory.mktemp("on-google")) as found:
        yield found


@pytest.fixture(scope="module")
def whole(google: Google) -> Run:
    """A run of every notebook with `--target gcp`."""
    return google.run("--strict")


@pytest.fixture(scope="module")
def at_home(python_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of every notebook with the sandbox as target."""
    plan = Plan(documents.notebooks(), strict=True)
    outcome = runner.run(plan, Console(quiet=True), tmp_path_factory.mktemp("runs"))
    assert outcome.code == 0, outcome.line
    return outcome.folder


def test_every_notebook_runs(whole: Run) -> None:
    assert whole.summary["verdict"] == "OK"
    assert whole.summary["target"] == "gcp"
    assert [one["notebook"] for one in whole.summary["notebooks"]] == [path.stem for path in documents.notebooks()]


def test_nobody_was_asked_but_google(google: Google, whole: Run) -> None:
    assert google.offences(whole.requests, builds=True) == []
    hosts = {one["host"] for one in whole.requests if one["door"] == "edge"}
    apis = ("artifactregistry", "cloudbuild", "containeranalysis", "iam", "iamcredentials", "logging", "oauth2")
    more = ("ondemandscanning", "serviceusage", "storage", "us-central1-run")
    assert {"us-central1-docker.pkg.dev", *(f"{name}.googleapis.com" for name in (*apis, *more))} <= hosts
    assert any(re.fullmatch(r"[a-z-]+-\d+\.us-central1\.run\.app", host) for host in hosts)


def test_nobody_went_round_it(google: Google, whole: Run) -> None:
    assert google.tunnels() == set()


def test_both_targets_reach_the_same_state(whole: Run, at_home: Path) -> None:
    """What each exercise's last check says, and the images that are there before the last notebook removes them."""
    here = json.loads((at_home / "summary.json").read_text())
    assert ends(whole.folder) == ends(at_home)
    tags = [tagged(summary) for summary in (here, whole.summary)]
    # Google's clock can't be moved, so nothing was cleaned up there. Apart from that they are the same.
    assert tags[0] <= tags[1]
    assert {tag for _, tag in tags[1] - tags[0]} <= {f"sha-a{number:06d}" for number in range(1, 7)}


def ends(folder: Path) -> dict[str, str]:
    """Return what the last check in each cell printed, by notebook and cell."""
    found = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        for cell in documents.read(path).cells:
            if "solution-check" in cell.metadata.get("tags", ()):
                found[f"{path.stem}#{cell.id}"] = "".join(said(part) for part in cell.outputs)
    return found


def tagged(summary: dict[str, Any]) -> set[tuple[str, str]]:
    """Image and tag, without the repository, whose name is the run's."""
    return {
        (one["image"].rpartition("/")[2].partition("@")[0], tag) for one in summary["images"] for tag in one["tags"]
    }


def test_no_address_of_the_sandbox_is_shown(google: Google, whole: Run) -> None:
    for path in whole.folder.glob("*.ipynb"):
        assert f"localhost:{google.world.info.port}" not in path.read_text(), path.name


_PORT = "http://localhost:PORT"
_API = f"{_PORT}/artifactregistry.googleapis.com"
_CLIENT = 'artifactregistry_v1.ArtifactRegistryClient(transport="rest"'
_BASH = '["bash", "-euo", "pipefail", "-c", '
# A helper, a notebook that uses it, what in it is changed, and into what.
WIRED = {
    "clients.py": ("02", f"{_CLIENT})", f'{_CLIENT}, client_options={{"api_endpoint": "{_API}"}})'),
    "rest.py": ("01", ".request(method, url,", f'.request(method, url.replace("https://", "{_PORT}/"),'),
    "registry.py": ("08", 'f"https://{repository.location.host}/v2/', f'f"{_PORT}/v2/{{repository.location.host}}/'),
    "access.py": ("09", '"https://{repository.location.host}/v2"', f'"{_PORT}/v2/{{repository.location.host}}"'),
    "terminal.py": ("02", _BASH, f'{_BASH}"export CLOUDSDK_API_ENDPOINT_OVERRIDES_ARTIFACTREGISTRY={_API}/\\n" + '),
}


@pytest.mark.parametrize("name", WIRED)
def test_with_a_helper_wired_to_the_sandbox_it_is_red(google: Google, tmp_path: Path, name: str) -> None:
    number, honest, wired = WIRED[name]
    copy = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".git", ".venv", ".sandbox", "runs", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=ignored)
    path = copy / "helpers" / name
    text = path.read_text()
    assert honest in text, f"helpers/{name} has changed: say here how it would be wired to the sandbox"
    path.write_text(text.replace(honest, wired.replace("PORT", str(google.world.info.port))))
    run = google.run("--only", number, root=copy, check=False)
    found = google.offences(run.requests, builds=True)
    assert found, run.output
    assert all(line.startswith("port ") for line in found)
