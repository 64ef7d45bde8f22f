"""The estimate before a real run, and the limit that stops it: pure, and on small notebooks in target gcp."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from cli.run import plans, runner, spending
from helpers import projects, registry, repositories, scans, sweep
from helpers.cell import documents
from helpers.names import Repository
from helpers.target import Target

NotebookWriter = Callable[..., Path]
ALL = documents.notebooks()


def test_the_default_limit_stops_a_whole_run_before_the_scans() -> None:
    assert spending.stops_before(ALL, 1.0) == ALL[7]
    told = spending.text(ALL, 1.0)
    assert "the run will stop before notebook 07" in told
    needed = re.search(r"--max-usd (\d+\.\d\d)", told)
    assert needed
    assert spending.stops_before(ALL, float(needed[1])) is None
    assert spending.stops_before(ALL[:5], 0.01) is None
    assert spending.text(ALL[:2], 1.0).startswith("Nothing that costs.")


def test_what_is_measured_counts_when_it_is_more() -> None:
    spending.require(ALL[4], ALL[:4], 0.0, 0.01)
    with pytest.raises(spending.OverBudget, match=r"Stopped before notebook 04.* \$0\.52 of 0\.50 USD are spent"):
        spending.require(ALL[4], ALL[:4], 0.52, 0.50)


def test_the_estimate_is_what_the_notebooks_say() -> None:
    """The card of each notebook names its cost; notebook 7's scans are counted in its cells."""
    for path in documents.notebooks():
        card = documents.read(path).cells[0].source
        said = [float(amount) for amount in re.findall(r"(\d+\.\d+) USD", card)]
        assert spending.estimate(path) <= max(said, default=0.0) + 0.001, path.name
    (seventh,) = plans.choose("07")
    code = "\n".join(cell.source for cell in documents.read(seventh).cells if cell.cell_type == "code")
    # The guide's own step is text in a Python cell, whose line ends in two backslashes.
    terminal = len(re.findall(r"docker images scan (?!\\\\)", code))
    pushed = len(set(re.findall(r'docker push .*REPOSITORY-scan/\$IMAGE:(\S+)"', code)))
    by_python = len(re.findall(r"registry\.push\(\s*scanned", code))
    assert (terminal + pushed + by_python) * 0.26 == pytest.approx(spending.estimate(seventh))


@pytest.fixture
def on_google(in_world: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """The sandbox in Google's place: its clients' settings stay, and what says that it is a sandbox goes."""
    for name in ("WORKBOOK_TARGET", "SANDBOX_URL"):
        monkeypatch.delenv(name, raising=False)
    return in_world


@pytest.mark.docker
@pytest.mark.usefixtures("python_image")
def test_the_limit_stops_a_run_before_the_notebook_that_would_break_it(
    on_google: Target, write_notebook: NotebookWriter, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    cheap = write_notebook("00_cheap.ipynb", f"open({str(ran)!r}, 'a').write('cheap')")
    dear = write_notebook("07_dear.ipynb", f"open({str(ran)!r}, 'a').write('dear')")
    notebook = documents.read(dear)
    costs = [{"price": "scanning", "amount": 6, "purpose": "scans"}]
    notebook.metadata["workbook"] = {"outcome": "spend", "minutes": 5, "costs": costs}
    dear.write_text(documents.text(notebook), encoding="utf-8")
    said = io.StringIO()
    plan = plans.Plan((cheap, dear), target="gcp", project=on_google.project_id, max_usd=1.0)
    outcome = runner.run(plan, Console(file=said, width=200), tmp_path / "runs")
    assert outcome.code == 3, said.getvalue()
    assert ran.read_text() == "cheap"
    last = said.getvalue().splitlines()[-1]
    assert last.startswith("STOPPED: Stopped before notebook 07, which costs up to $1.56")
    assert '--max-usd 1.56"' in last
    assert not list((tmp_path / "runs").glob("*/world"))


def test_scans_on_push_are_measured(in_world: Target) -> None:
    began = datetime.now(UTC)
    projects.enable(
        in_world.location.project,
        projects.ARTIFACT_REGISTRY,
        "containeranalysis.googleapis.com",
        "containerscanning.googleapis.com",
    )
    repository = Repository(in_world.location, "measured")
    repositories.create(repository)
    try:
        assert spending.measured(repository.project, began) == 0
        scans.wait(registry.push(repository.image("a").tag("1"), [{"a": "b"}]), 60)
        assert spending.measured(repository.project, began) == pytest.approx(0.26)
        assert spending.measured(repository.project, began + timedelta(hours=1)) == 0
    finally:
        repositories.delete(repository)
    assert sweep.find_repositories(in_world) == ()
