"""Recorded truth, proved on the sandbox: what it answers is recorded without names, and answered again alike."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.answers import cleanup_and_bill
from cli.exchanges import recorder, scrub
from cli.exchanges.calls import CALLS
from cli.exchanges.recorder import Exchange
from helpers import projects, repositories
from helpers.names import Project
from helpers.target import Target
from tests.docs import fidelity

ROOT = Path(__file__).parents[3]
APIS = (
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "containeranalysis.googleapis.com",
    "iam.googleapis.com",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Path]:
    """What the verb writes in the sandbox."""
    place = tmp_path_factory.mktemp("exchanges")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        projects.enable(Project(environment["PROJECT_ID"]), *APIS)
    command = [sys.executable, "-m", "cli.main", "record-exchanges", "--project", environment["PROJECT_ID"]]
    ran = subprocess.run(
        [*command, "--into", str(place)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return place


def again(here: Target, recorded: list[Exchange]) -> list[str]:
    """The differences when the recorded calls are made again, in another repository."""
    place = recorder.place(here.project_id, here.region, "exchanged-again")
    found = recorder.replay(recorded, place)
    pairs = zip(recorded, found, strict=True)
    return [line for before, after in pairs for line in recorder.differences(before, after)]


def test_the_list_names_operations_of_the_sandbox_and_leaves_nothing() -> None:
    known = {name for listed in fidelity.operations().values() for name in listed}
    assert {call.operation for call in CALLS} <= known
    assert len({(call.operation, call.case) for call in CALLS}) == len(CALLS)


def test_what_is_recorded_is_answered_again_alike(folder: Path, in_world: Target) -> None:
    recorded = recorder.load(folder)
    assert len(recorded) == len(CALLS)
    assert {one.source for one in recorded} == {"sandbox"}
    assert {path.name for path in folder.iterdir()} == {recorder.file_name(one.operation) for one in recorded}
    assert {200, 400, 401, 403, 404, 409} <= {one.status for one in recorded}
    assert again(in_world, recorded) == []
    assert repositories.list_in(in_world.location) == ()


def test_no_name_of_the_project_is_in_the_files(folder: Path, in_world: Target) -> None:
    text = "".join(path.read_text() for path in folder.iterdir()).replace('"@type"', "")
    for secret in (in_world.project_id, in_world.project_number, "ya29.", "@", os.environ["WORKBOOK_HOME"]):
        assert secret not in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one: {"status": 418}, "the status is 404, and was 418"),
        (lambda one: {"answer": {**one.answer, "more": {"inside": 1}}}, "more.inside is missing"),
        (lambda one: {"answer": {"error": {**one.answer["error"], "message": "Gone."}}}, "and was 'Gone.'"),
        (lambda one: {"answer": {"error": {"code": 404, "message": ""}}}, "error.status is more than there was"),
        (lambda one: {"headers": {**one.headers, "www-authenticate": "x"}}, "header www-authenticate is missing"),
    ],
)
def test_a_planted_difference_is_reported(folder: Path, in_world: Target, change: Any, says: str) -> None:
    one = next(one for one in recorder.load(folder) if one.operation.endswith("packages.get"))
    # Alone, the call meets a repository that isn't there: so it is asked first how it is answered then.
    place = recorder.place(in_world.project_id, in_world.region, "exchanged-again")
    honest = recorder.replay([one], place)[0]
    planted = dataclasses.replace(honest, **change(honest))
    lines = [line for line in again(in_world, [planted]) if says in line]
    assert lines, says
    assert lines[0].startswith(f"{one.operation}, {one.case}: ")


def test_nothing_is_written_when_something_secret_is_left(folder: Path, tmp_path: Path) -> None:
    recorded = recorder.load(folder)
    leaking = dataclasses.replace(recorded[3], answer={"note": "write to mira@example.com"})
    with pytest.raises(recorder.SecretLeft, match=r"projects.get, yours: an e-mail address") as caught:
        recorder.save([*recorded[:3], leaking], tmp_path / "new", {})
    assert "mira" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_the_verb_writes_nothing_for_a_project_that_is_not_yours(tmp_path: Path, in_world: Target) -> None:
    said: list[str] = []
    assert (
        cleanup_and_bill.record_exchanges("somebody-elses", in_world.region, tmp_path / "new", say=said.append)
        == cleanup_and_bill.WRONG
    )
    assert "Forbidden" in said[0]
    assert not (tmp_path / "new").exists()


def test_the_verb_writes_nothing_when_something_secret_is_left(
    tmp_path: Path, in_world: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    projects.enable(Project(in_world.project_id), *APIS)
    monkeypatch.setattr(scrub.Scrubber, "text", lambda self, text: text)
    said: list[str] = []
    status = cleanup_and_bill.record_exchanges(in_world.project_id, in_world.region, tmp_path / "new", say=said.append)
    assert status == cleanup_and_bill.WRONG
    assert "SecretLeft: Nothing was written." in said[-1]
    assert in_world.project_number not in said[-1]
    assert not (tmp_path / "new").exists()


def test_what_is_kept_was_recorded_on_google_and_the_sandbox_answers_alike(in_world: Target) -> None:
    """The truth that ships. Until somebody has recorded it, docs/fidelity.md says that there is none."""
    kept = recorder.load()
    assert all(one.source == "google" for one in kept)
    if not kept:
        pytest.skip("no exchange with Google has been recorded yet: workbook record-exchanges --project …")
    projects.enable(Project(in_world.project_id), *APIS)
    assert again(in_world, kept) == []
    assert json.dumps([dataclasses.asdict(one) for one in kept])
