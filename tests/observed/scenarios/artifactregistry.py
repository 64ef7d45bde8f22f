"""Artifact Registry: repositories, their operations and policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.observed import shapes
from tests.observed.facts import Fact
from tests.observed.replay import Request, Stage

HOST = "https://artifactregistry.googleapis.com"
_GIVEN = ("description", "format", "labels", "mode", "virtualRepositoryConfig", "cleanupPolicies")


_UPSTREAM = ".virtualRepositoryConfig.upstreamPolicies[].repository"


def _upstream(stage: Stage) -> str:
    """A repository that a virtual one leads to, made at first use."""
    if "upstream" not in stage.kept:
        name = stage.name("upstream")
        stage.ask("POST", f"{HOST}{_location(stage)}/repositories?repositoryId={name}", {"format": "DOCKER"})
        stage.kept["upstream"] = f"{_location(stage).removeprefix('/v1/')}/repositories/{name}"
    found: str = stage.kept["upstream"]
    return found


def _location(stage: Stage) -> str:
    return f"/v1/projects/{stage.project}/locations/us-central1"


def _made(stage: Stage, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A new repository with the fields of one that Google told, and the operation that made it."""
    given = {path: masked for path, masked in fields.items() if path.removeprefix(".").split(".")[0] in _GIVEN}
    body = shapes.fill(given, lambda path, masked: _upstream(stage) if path == _UPSTREAM else shapes.example(masked))
    repository = stage.name("repository")
    url = f"{HOST}{_location(stage)}/repositories?repositoryId={repository}&$alt=json;enum-encoding=int"
    operation = stage.ask("POST", url, {"format": "DOCKER", **body})
    return f"{_location(stage)}/repositories/{repository}", operation


def _create(stage: Stage, fact: Fact) -> Request:
    name = stage.name("repository")
    values = {"?repository_id": name, "?repositoryId": name}
    if _UPSTREAM in (fact.body or {}):
        values[_UPSTREAM] = _upstream(stage)
    return Request(f"{_location(stage)}/repositories", values)


def _get(stage: Stage, fact: Fact) -> Request:
    if fact.status == 404:
        return Request(f"{_location(stage)}/repositories/none")
    return Request(_made(stage, fact.answer or {})[0])


def _operation(stage: Stage, fact: Fact) -> Request:
    prefix = ".response"
    fields = {path[len(prefix) :]: masked for path, masked in (fact.answer or {}).items() if path.startswith(prefix)}
    path, operation = _made(stage, fields)
    if fields.get(".@type", "").endswith("Empty"):
        operation = stage.ask("DELETE", HOST + path)
    return Request(f"/v1/{operation['name']}")


def _patch(stage: Stage, fact: Fact) -> Request:
    path = _made(stage, fact.answer or {})[0]
    return Request(path, {_UPSTREAM: _upstream(stage)} if _UPSTREAM in (fact.body or {}) else {})


def _delete(stage: Stage, fact: Fact) -> Request:
    return Request(_made(stage, {})[0])


def _get_policy(stage: Stage, fact: Fact) -> Request:
    path, _ = _made(stage, {})
    answer = fact.answer or {}
    if ".bindings[].members[]" in answer or ".version" in answer:
        bindings = []
        if ".bindings[].members[]" in answer:
            member = stage.member(answer[".bindings[].members[]"])
            bindings = [{"role": answer[".bindings[].role"], "members": [member]}]
        stage.ask("POST", f"{HOST}{path}:setIamPolicy", {"policy": {"bindings": bindings}})
    return Request(f"{path}:getIamPolicy")


def _set_policy(stage: Stage, fact: Fact) -> Request:
    path, _ = _made(stage, {})
    etag = stage.ask("GET", f"{HOST}{path}:getIamPolicy")["etag"]
    member = stage.member(str((fact.body or {}).get(".policy.bindings[].members[]", "")))
    return Request(f"{path}:setIamPolicy", {".policy.etag": etag, ".policy.bindings[].members[]": member})


_REPOSITORY = "/v1/projects/P/locations/L/repositories"
PREPARE = {
    f"POST {_REPOSITORY}": _create,
    f"GET {_REPOSITORY}/X": _get,
    f"PATCH {_REPOSITORY}/X": _patch,
    f"DELETE {_REPOSITORY}/X": _delete,
    f"GET {_REPOSITORY}/X:getIamPolicy": _get_policy,
    f"POST {_REPOSITORY}/X:setIamPolicy": _set_policy,
    "GET /v1/projects/P/locations/L/operations/OP": _operation,
}
