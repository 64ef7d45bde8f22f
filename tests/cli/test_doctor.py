"""What `workbook doctor` says of versions and commands; the commands have tests/notebooks/test_commands.py."""

from __future__ import annotations

import json

import pytest

from cli import doctor
from cli.doctor import Diagnosis, Refused, Version
from cli.run import report


@pytest.mark.parametrize(
    ("recorded", "installed", "verdict"),
    [
        ("528.0.0", "528.0.0", "same"),
        ("528.0.0", "530.0.0", "newer"),
        ("28.2.2", "28.10.0", "newer"),
        ("28.2.2+dfsg1", "20.10.24+dfsg1", "older"),
        ("28.2.2", "28.2.2+dfsg1", "other"),
        ("", "28.2.2", "other"),
        ("28.2.2", "", "missing"),
    ],
)
def test_versions_are_numbers(recorded: str, installed: str, verdict: str) -> None:
    assert Version("docker", recorded, installed).verdict == verdict


def test_the_code_says_what_to_do() -> None:
    same = doctor.compare({"gcloud": "528.0.0"}, {"gcloud": "528.0.0", "docker": "28.2.2"})
    assert [one.tool for one in same] == ["gcloud", "docker"]
    assert Diagnosis(same, 81, ()).code == doctor.FINE
    newer = doctor.compare({"gcloud": "528.0.0"}, {"gcloud": "530.0.0"})
    fine = Diagnosis(newer, 81, ())
    assert fine.code == doctor.FINE
    assert "Not as recorded: gcloud." in fine.text()
    refused = Refused("03_sign_in.ipynb#login", "gcloud auth gone", "Invalid choice: 'gone'.")
    unknown = Diagnosis(newer, 81, (refused,))
    assert unknown.code == doctor.UNKNOWN
    assert "doesn't know 1 of 81 commands" in unknown.text()
    assert json.dumps(unknown.json())
    assert Diagnosis(doctor.compare({"gcloud": "528.0.0"}, {"gcloud": ""}), 0, ()).code == doctor.MISSING


def test_the_recorded_tools_are_those_that_a_run_reports() -> None:
    recorded = json.loads(doctor.RECORDED.read_text(encoding="utf-8"))
    assert set(recorded) == set(report.versions())
    assert all(recorded.values())
