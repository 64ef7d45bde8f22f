"""Service Usage: what gcloud sends when it disables an API."""

from __future__ import annotations

from tests.sandbox.in_process import Learner

API = "pubsub.googleapis.com"


def test_disable_accepts_gclouds_body(learner: Learner) -> None:
    """The body is the one that facts/gcloud-requests.md recorded of `gcloud services disable`."""
    url = f"https://serviceusage.googleapis.com/v1/projects/{learner.project}/services/{API}"
    learner.ask("POST", f"{url}:enable", {})
    body = {"checkIfServiceHasUsage": "CHECK", "disableDependentServices": False}
    learner.ask("POST", f"{url}:disable", body)
    assert learner.ask("GET", url)["state"] == "DISABLED"


def test_disable_refuses_an_unknown_check(learner: Learner) -> None:
    url = f"https://serviceusage.googleapis.com/v1/projects/{learner.project}/services/{API}"
    refusal = learner.ask("POST", f"{url}:disable", {"checkIfServiceHasUsage": "MAYBE"}, 400)
    assert "checkIfServiceHasUsage" in refusal["error"]["message"]
