"""Cloud Billing: the account of a project."""

from __future__ import annotations

from tests.observed.facts import Fact
from tests.observed.replay import Request, Stage

HOST = "https://cloudbilling.googleapis.com"


def _account(stage: Stage) -> str:
    found: str = stage.ask("GET", f"{HOST}/v1/billingAccounts")["billingAccounts"][0]["name"]
    return found


def _get(stage: Stage, fact: Fact) -> Request:
    project = stage.project
    if not (fact.answer or {})[".billingEnabled"]:
        project = f"{stage.project}-{stage.name('p')}"
        body = {"projectId": project, "name": "text"}
        stage.ask("POST", "https://cloudresourcemanager.googleapis.com/v1/projects", body)
    return Request(f"/v1/projects/{project}/billingInfo")


def _put(stage: Stage, fact: Fact) -> Request:
    return Request(f"/v1/projects/{stage.project}/billingInfo", {".billingAccountName": _account(stage)})


PREPARE = {"GET /v1/projects/P/billingInfo": _get, "PUT /v1/projects/P/billingInfo": _put}
