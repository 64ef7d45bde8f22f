"""Accept the query parameters that a method supports, and refuse all others by name."""

from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from sandbox.api import parameters, shapes
from sandbox.apis import APIS
from sandbox.cloud_run import shape
from sandbox.errors import ApiError
from tests.sandbox import google_messages
from tests.sandbox.in_process import Learner

DOCUMENTED = {key: set(found["query"]) for key, found in google_messages.METHODS.items()}
# Parameters of the methods with a location, which have their own ids in Google's discovery documents
OF_A_LOCATION = {"id", "projectId", "triggerId"}
PROJECT = "https://secretmanager.googleapis.com/v1/projects/{project}/secrets"


def test_every_documented_parameter_is_accepted_or_refused() -> None:
    both: dict[str, set[str]] = {}
    for key, documented in DOCUMENTED.items():
        method = key.partition(" ")[0]
        both.setdefault(method, set()).update(documented)
        if not method.startswith("storage."):
            unknown = documented - parameters.taken(method) - parameters.refused(method) - {"alt", "access_token"}
            assert key.startswith("oauth2.") or not unknown, f"{method} has {unknown}: take it, or refuse it"
    for method in both:
        invented = (
            parameters.taken(method) - both[method] - {"upload_id", "options.requestedPolicyVersion", *OF_A_LOCATION}
        )
        if "services.list" not in method:  # v1 and v2 of Cloud Run have one id
            assert not invented, f"Google documents no {invented} of {method}"


def test_tables_contain_only_googles_methods() -> None:
    known = {key.partition(" ")[0] for key in google_messages.METHODS}
    ours = {method.id for api in APIS for method in api.methods}
    # The notes of Google's scanner and the XML API are in no discovery document; the one of OAuth has other ids.
    assert {one for one in ours - known if not one.startswith(("oauth2.", "sts.", "storage.xml."))} == {
        "containeranalysis.goog-vulnz.notes.get"
    }


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("run.projects.locations.services.create", "serviceId=a&validateOnly=true"),
        ("run.namespaces.services.create", "dryRun=all"),
        ("storage.buckets.delete", "ifMetagenerationMatch=1"),
        ("storage.objects.list", "matchGlob=a"),
    ],
)
def test_unsupported_parameter_is_refused_by_name(method: str, query: str) -> None:
    name = query.rpartition("&")[2].partition("=")[0]
    with pytest.raises(ApiError, match=f"the parameter {name} of {method}") as refused:
        parameters.check(method, QueryParams(query))
    assert refused.value.status == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    "query", ["pageSize=1&page_token=a", "alt=json&$fields=a&key=k", "dryRun=", "options.requestedPolicyVersion=3"]
)
def test_supported_parameter_is_accepted(query: str) -> None:
    method = "run.namespaces.services.create" if "dryRun" in query else "secretmanager.projects.secrets.list"
    method = "secretmanager.projects.secrets.getIamPolicy" if "options" in query else method
    parameters.check(method, QueryParams(query))


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("cloudbuild.projects.triggers.get", "alt=json&triggerId=t"),
        ("cloudbuild.projects.triggers.delete", "alt=json&triggerId=t"),
        ("run.namespaces.services.list", "alt=json&limit=100&labelSelector=a%3Db"),
        ("secretmanager.projects.secrets.list", "alt=json&pageSize=500"),
        ("artifactregistry.projects.locations.repositories.packages.versions.list", "view=FULL&orderBy=a&pageSize=10"),
    ],
)
def test_gclouds_parameters_are_accepted(method: str, query: str) -> None:
    parameters.check(method, QueryParams(query))


def test_gclouds_service_body_is_accepted() -> None:
    container = {"image": "nginx", "resources": {"limits": {"memory": "1Gi"}, "requests": {}}, "ports": []}
    body = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "a", "annotations": {}}}
    body["spec"] = {"template": {"metadata": {}, "spec": {"containers": [container]}}, "traffic": []}
    assert shapes.check(shape.Service, body, strict=True) == body


def test_unknown_parameter_changes_nothing(learner: Learner) -> None:
    learner.enable("secretmanager.googleapis.com")
    body = {"replication": {"automatic": {}}}
    refused = learner.ask("POST", f"{PROJECT}?secretId=kept&colour=red", body, 400)["error"]["message"]
    assert refused == (
        'Invalid JSON payload received. Unknown name "colour": Cannot bind query parameter. '
        "Field 'colour' could not be found in request message."
    )
    assert "secrets" not in learner.ask("GET", PROJECT)
