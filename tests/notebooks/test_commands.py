"""Every gcloud command that a learner can read exists, with its flags: gcloud's own linter says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import command_lint, doctor
from helpers.target import Target


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud")
def test_every_gcloud_command_is_one_that_gcloud_knows(
    in_world: Target,
) -> None:
    found = doctor.diagnose()
    assert found.linted > 20
    assert found.refused == ()


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud")
def test_the_linter_catches_a_flag_that_does_not_exist(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erratum 3: the source guide's `--enable-vulnerability-scanning`."""
    monkeypatch.setenv("CLOUDSDK_CONFIG", environment["CLOUDSDK_CONFIG"])
    good = "gcloud artifacts repositories update r --location=us-central1 --allow-vulnerability-scanning"
    bad = "gcloud artifacts repositories update r --location=us-central1 --enable-vulnerability-scanning"
    assert [verdict["success"] for verdict in command_lint.lint([good, bad], tmp_path)] == [True, False]
