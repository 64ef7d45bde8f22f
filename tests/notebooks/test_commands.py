"""gcloud's own linter knows every gcloud command, with its flags, that a learner can read."""

from __future__ import annotations

import pytest

from cli import command_lint, doctor

_GOOD = "gcloud artifacts repositories update r --location=us-central1 --allow-vulnerability-scanning"
_BAD = "gcloud artifacts repositories update r --location=us-central1 --enable-vulnerability-scanning"


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud", "in_world")
def test_linter_refuses_the_guides_flag_and_no_command_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Erratum 3. The bad command is linted with ours, because each start of the linter takes seconds."""
    ours = command_lint.readable()
    assert len(ours) > 20
    monkeypatch.setattr(command_lint, "readable", lambda: [*ours, ("guide", _GOOD), ("guide", _BAD)])
    found = doctor.diagnose()
    assert found.linted == len(ours) + 2
    assert [(one.where, one.command) for one in found.refused] == [("guide", _BAD)]
