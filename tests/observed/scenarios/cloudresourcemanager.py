"""Resource Manager: projects, and the policies on them."""

from __future__ import annotations

from typing import Any

from tests.observed import shapes
from tests.observed.facts import Fact
from tests.observed.replay import Request, Stage

HOST = "https://cloudresourcemanager.googleapis.com"


def _id(stage: Stage) -> str:
    return f"{stage.project}-{stage.name('p')}"


def _made(stage: Stage, **fields: Any) -> tuple[str, str]:
    """A new project's id, and the name of its operation."""
    project = _id(stage)
    operation = stage.ask("POST", f"{HOST}/v1/projects", {"projectId": project, "name": "text", **fields})
    return project, operation["name"]


def _project(stage: Stage, fact: Fact) -> str:
    """A project with labels where the fact has some."""
    return _made(stage, **_labels(fact))[0]


def _labels(fact: Fact) -> dict[str, Any]:
    labelled = any(".labels." in path for path in fact.answer or {})
    return {"labels": {"purpose": "text"}} if labelled else {}


def _create(stage: Stage, fact: Fact) -> Request:
    return Request("/v1/projects", {".projectId": _id(stage)})


def _get(stage: Stage, fact: Fact) -> Request:
    version = fact.path.split("/")[1]
    return Request(f"/{version}/projects/{'no-such-project' if fact.status == 403 else _project(stage, fact)}")


def _policy(stage: Stage, fact: Fact) -> tuple[str, dict[str, Any]]:
    """A project, and its policy with what the fact adds to it."""
    project = _made(stage)[0]
    policy = stage.ask("POST", f"{HOST}/v1/projects/{project}:getIamPolicy", {})
    if ".bindings[].role" in (fact.answer or {}):
        member = stage.member("serviceAccount:<email>")
        policy["bindings"].append({"role": shapes.example("<role>"), "members": [member]})
    if ".auditConfigs[].service" in (fact.answer or {}):
        policy["auditConfigs"] = [
            {"service": "container.googleapis.com", "auditLogConfigs": [{"logType": "ADMIN_READ"}]}
        ]
    return f"/v1/projects/{project}", policy


def _get_policy(stage: Stage, fact: Fact) -> Request:
    path, policy = _policy(stage, fact)
    stage.ask("POST", f"{HOST}{path}:setIamPolicy", {"policy": policy})
    return Request(f"{path}:getIamPolicy")


def _set_policy(stage: Stage, fact: Fact) -> Request:
    path, policy = _policy(stage, fact)
    body: dict[str, Any] = {"policy": {**policy, "version": (fact.body or {})[".policy.version"]}}
    if ".updateMask" in (fact.body or {}):
        body["updateMask"] = ",".join(name for name in body["policy"] if name != "version")
    return Request(f"{path}:setIamPolicy", body=body)


PREPARE = {
    "POST /v1/projects": _create,
    "GET /v1/projects/P": _get,
    "GET /v3/projects/P": _get,
    "PUT /v1/projects/P": _get,
    "DELETE /v1/projects/P": _get,
    "GET /v1/operations/OP": lambda stage, fact: Request(f"/v1/{_made(stage, **_labels(fact))[1]}"),
    "POST /v1/projects/P:getIamPolicy": _get_policy,
    "POST /v1/projects/P:setIamPolicy": _set_policy,
    "POST /v1/projects/P:testIamPermissions": lambda stage, fact: Request(
        f"/v1/projects/{stage.project}:testIamPermissions", {".permissions[]": "resourcemanager.projects.get"}
    ),
}
