"""Builds as values: what is read from a file, and how a step is shown. Builds that run: tests/sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import json_format

from helpers import builds, names
from helpers.builds import Build, Step

IMAGE = names.Tag.parse("us-central1-docker.pkg.dev/my-project/ml-images/ml-predictor:1.0.0")


def test_substitutions_go_over_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("steps: [{name: x}]\nsubstitutions: {_A: file, _B: file}\n")
    build = builds.read(tmp_path / "b.yaml", {"_A": "given"})
    assert dict(build.substitutions) == {"_A": "given", "_B": "file"}


def test_a_misspelt_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("step: [{name: x}]\n")
    with pytest.raises(json_format.ParseError, match="step"):
        builds.read(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (Step("build", "SUCCESS", 12.4), "✓ build  12 s"),
        (Step("build", "SUCCESS", 0.2), "✓ build"),
        (Step("test", "FAILURE", 3.0), "✗ test  3 s"),
        (Step("push", "QUEUED", 0.0), "○ push"),
    ],
)
def test_a_step_is_one_line(step: Step, line: str) -> None:
    assert builds.line(step) == line


def test_the_digest_of_a_tag() -> None:
    digest = f"sha256:{'ab' * 32}"
    build = Build("id", "SUCCESS", "", (), ((str(IMAGE), digest),), {})
    assert str(build.digest(IMAGE)) == f"{IMAGE.image}@{digest}"
    with pytest.raises(KeyError):
        build.digest(IMAGE.image.tag("2.0.0"))


@pytest.mark.parametrize(("status", "running"), [("QUEUED", True), ("WORKING", True), ("SUCCESS", False)])
def test_whether_it_runs(status: str, running: bool) -> None:
    assert Build("id", status, "", (), (), {}).running is running


LOG = [
    "starting build",
    'Starting Step #0 - "build"',
    'Step #0 - "build": Step 1/3 : FROM x',
    'Finished Step #0 - "build"',
    'Step #1 - "gate": Blocked:',
    'Step #1 - "gate": CRITICAL,CVE-1,True',
    "Step #10: not of step 1",
    "ERROR",
    'ERROR: build step 1 "x" failed: step exited with non-zero status: 1',
]


@pytest.mark.parametrize(
    ("statuses", "log", "last"),
    [
        (("SUCCESS", "FAILURE", "QUEUED"), LOG, ("Blocked:", "CRITICAL,CVE-1,True")),
        (("FAILURE", "QUEUED"), LOG, ("Step 1/3 : FROM x",)),
        (("FAILURE",), ["a", "", "b", "ERROR", "ERROR: why"], ("a", "b", "ERROR", "ERROR: why")),
        (("SUCCESS", "SUCCESS"), ["PUSH", "denied", "ERROR: why"], ("PUSH", "denied", "ERROR: why")),
        (("FAILURE",), [f"line {number}" for number in range(40)] + ["ERROR"], None),
    ],
    ids=["the-second-step", "the-first-step", "one-step-alone", "a-push", "a-long-log"],
)
def test_what_a_failed_step_said_last(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[str, ...], log: list[str], last: tuple[str, ...] | None
) -> None:
    monkeypatch.setattr(builds, "log", lambda location, build_id: log)
    steps = tuple(Step(f"step {place}", status, 0.0) for place, status in enumerate(statuses))
    location = names.Location(names.Project("my-project"), "us-central1")
    found = builds.last_lines(location, Build("id", "FAILURE", "", steps, (), {}))
    assert found == (last if last is not None else (*(f"line {number}" for number in range(29, 40)), "ERROR"))
