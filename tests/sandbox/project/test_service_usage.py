"""Disable an API with the body that gcloud sends."""

from __future__ import annotations

from tests.sandbox.in_process import Learner

API = "pubsub.googleapis.com"


def test_disable_accepts_gclouds_body(learner: Learner) -> None:
    """The body was recorded from `gcloud services disable`: facts/gcloud-requests.md."""
    url = f"https://serviceusage.googleapis.com/v1/projects/{learner.project}/services/{API}"
    learner.ask("POST", f"{url}:enable", {})
    body = {"checkIfServiceHasUsage": "CHECK", "disableDependentServices": False}
    learner.ask("POST", f"{url}:disable", body)
    assert learner.ask("GET", url)["state"] == "DISABLED"


def test_disable_refuses_an_unknown_check(learner: Learner) -> None:
    url = f"https://serviceusage.googleapis.com/v1/projects/{learner.project}/services/{API}"
    refusal = learner.ask("POST", f"{url}:disable", {"checkIfServiceHasUsage": "MAYBE"}, 400)
    assert "checkIfServiceHasUsage" in refusal["error"]["message"]
