"""Call every Artifact Registry method with every predefined role, held by an account and by an identity of a pool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.artifact_registry.api import API
from tests.sandbox.iam import rights
from tests.sandbox.iam.rights import (
    HOLDERS,
    NEEDED,
    OPERATIONS,
    ROLES,
    SERVICE,
    WITHOUT,
    Registry,
    difference,
    held,
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with rights.opened(tmp_path_factory.mktemp("rights")) as found:
        yield found


def test_table_has_every_predefined_role(registry: Registry) -> None:
    listed = registry.call(registry.owner, "GET", "/iam.googleapis.com/v1/roles?pageSize=1000").json()["roles"]
    assert {role["name"] for role in listed} == {f"roles/{name}" for name in ROLES}


def test_table_has_every_method() -> None:
    known = NEEDED.keys() | WITHOUT
    assert {method.id.removeprefix("artifactregistry.projects.locations.") for method in API.methods} == known


@pytest.mark.parametrize("who", HOLDERS)
@pytest.mark.parametrize("level", ["project", "repository"])
@pytest.mark.parametrize("method", API.methods, ids=lambda method: f"{method.id}-{method.path.split('/')[1]}")
def test_method_requires_the_permissions_of_appendix_c(registry: Registry, method: Any, level: str, who: str) -> None:
    name = method.id.removeprefix("artifactregistry.projects.locations.")
    needed = held(NEEDED.get(name, ""))
    # The repository does not exist, so an allowed call gets 404 or 400 and changes nothing.
    path = method.path.format(
        project=registry.project,
        location="us-central1",
        repository="nowhere",
        package="app",
        version="sha256:0",
        tag="v1",
        image="app@sha256:0",
        file="sha256:0",
        npm_package="app:1.0.0",
        python_package="app:1.0.0",
        maven_artifact="org.example:app:1.0.0",
        operation="none",
    )
    body: dict[str, Any] | None = None if method.verb in ("GET", "DELETE") else {}
    wrong = []
    for role in ROLES:
        answer = registry.call(registry.tokens[who, level, role], method.verb, f"/{SERVICE}{path}", json=body)
        assert answer.status_code in (200, 400, 403, 404), answer.text
        # A role on a repository that does not exist does not make operations visible.
        if name in OPERATIONS and level == "repository":
            continue
        wrong.append(difference(name, needed, role, level, answer))
    assert not list(filter(None, wrong))


@pytest.mark.parametrize("who", HOLDERS)
def test_operation_is_visible_to_callers_that_may_get_a_repository(registry: Registry, who: str) -> None:
    path = f"/{SERVICE}/v1/projects/{registry.project}/locations/us-central1/operations/none"
    for verb, rest in (("GET", ""), ("POST", ":cancel")):
        answers = {
            role: registry.call(registry.tokens[who, "repository", role], verb, path + rest).status_code
            for role in ROLES
        }
        assert answers == {role: 404 if "repositories.get" in ROLES[role] else 403 for role in ROLES}
