"""Create, change and delete projects and their policies, with Google's Python client (v3) and by HTTP (v1)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import google.auth
import pytest
import requests
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import resourcemanager_v3

from tests.sandbox.conftest import SCOPES, ask, done

V1 = "https://cloudresourcemanager.googleapis.com/v1"


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    credentials, _ = google.auth.default(scopes=SCOPES)
    with AuthorizedSession(credentials) as session:
        yield session


@pytest.fixture
def client(in_world: object) -> Iterator[resourcemanager_v3.ProjectsClient]:
    """Return Google's client, configured by the environment only."""
    with resourcemanager_v3.ProjectsClient(transport="rest") as found:
        yield found


def make(session: AuthorizedSession, **more: Any) -> dict[str, Any]:
    body = {"projectId": f"ml-made-{secrets.token_hex(4)}", **more}
    operation = ask(session, "POST", f"{V1}/projects", body)
    assert operation.keys() == {"name"}
    response: dict[str, Any] = done(session, "cloudresourcemanager.googleapis.com", operation)["response"]
    return response


def test_project_is_found_by_id_and_number(learner: AuthorizedSession) -> None:
    found = ask(learner, "GET", f"{V1}/projects/{os.environ['PROJECT_ID']}")
    assert found["projectNumber"] == os.environ["PROJECT_NUMBER"]
    assert found["lifecycleState"] == "ACTIVE"
    assert ask(learner, "GET", f"{V1}/projects/{found['projectNumber']}") == found


def test_missing_project_is_permission_denied(learner: AuthorizedSession) -> None:
    error = ask(learner, "GET", f"{V1}/projects/your-project-id", status=403)["error"]
    assert error["status"] == "PERMISSION_DENIED"


def test_creator_of_a_project_is_its_owner(learner: AuthorizedSession) -> None:
    made = make(learner, name="Made here", labels={"workbook-run": "a1"})
    assert made["labels"] == {"workbook-run": "a1"}
    policy = ask(learner, "POST", f"{V1}/projects/{made['projectId']}:getIamPolicy", {})
    member = f"serviceAccount:learner@{os.environ['PROJECT_ID']}.iam.gserviceaccount.com"
    assert policy["bindings"] == [{"role": "roles/owner", "members": [member]}]


def test_taken_project_id_is_refused(learner: AuthorizedSession) -> None:
    body = {"projectId": make(learner)["projectId"]}
    error = ask(learner, "POST", f"{V1}/projects", body, status=409)["error"]
    assert (error["status"], error["message"]) == ("ALREADY_EXISTS", "Requested entity already exists")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"projectId": "short"}, 400),
        ({"projectId": "x" * 31}, 400),
        ({"projectId": "Upper-case"}, 400),
        ({"projectId": "ends-with-"}, 400),
        ({}, 400),
        ({"projectId": "good-enough", "name": "no"}, 400),
        ({"projectId": "good-enough", "labels": {"Team": "ML"}}, 400),
        ({"projectId": "good-enough", "colour": "red"}, 400),
        ({"projectId": "good-enough", "parent": {"type": "folder", "id": "1"}}, 501),
    ],
)
def test_invalid_project_is_not_created(learner: AuthorizedSession, body: dict[str, Any], status: int) -> None:
    ask(learner, "POST", f"{V1}/projects", body, status=status)
    ask(learner, "GET", f"{V1}/projects/good-enough", status=403)


def test_deleted_project_can_be_undeleted(learner: AuthorizedSession) -> None:
    url = f"{V1}/projects/{make(learner)['projectId']}"
    ask(learner, "DELETE", url)
    assert ask(learner, "GET", url)["lifecycleState"] == "DELETE_REQUESTED"
    assert ask(learner, "DELETE", url, status=400)["error"]["status"] == "FAILED_PRECONDITION"
    ask(learner, "POST", f"{url}:undelete", {})
    assert ask(learner, "GET", url)["lifecycleState"] == "ACTIVE"


def test_list_supports_gclouds_filters(learner: AuthorizedSession) -> None:
    made = make(learner, labels={"team-x": "ml"})["projectId"]

    def ids(text: str) -> set[str]:
        answer = learner.get(f"{V1}/projects", params={"filter": text})
        assert answer.status_code == 200, answer.text
        return {project["projectId"] for project in answer.json().get("projects", [])}

    assert {made, os.environ["PROJECT_ID"]} <= ids("lifecycleState:ACTIVE")
    assert ids("lifecycleState:ACTIVE AND (labels.team-x:ml)") >= {made}
    assert os.environ["PROJECT_ID"] not in ids("labels.team-x:*")
    assert ids(f"id:{made[:-1]}*") == {made}
    assert ids("id:nothing-like-it") == set()
    assert ids(f"id:{made} OR id:nothing-like-it") == {made}
    assert learner.get(f"{V1}/projects", params={"filter": "id>a"}).status_code == 501


def test_python_client_reads_and_changes_a_policy(client: resourcemanager_v3.ProjectsClient) -> None:
    name = f"projects/{os.environ['PROJECT_ID']}"
    found = client.get_project(name=name)
    assert found.name == f"projects/{os.environ['PROJECT_NUMBER']}"
    wanted = ["artifactregistry.repositories.create", "iam.serviceAccounts.getAccessToken"]
    held = client.test_iam_permissions(request={"resource": name, "permissions": wanted})
    assert list(held.permissions) == wanted[:1]
    policy = client.get_iam_policy(request={"resource": name})
    policy.bindings.add(role="roles/artifactregistry.reader", members=["group:ml-team@example.com"])
    changed = client.set_iam_policy(request={"resource": name, "policy": policy})
    assert "group:ml-team@example.com" in str(changed)
    # The policy's etag is no longer the current one.
    with pytest.raises(exceptions.Conflict, match="concurrent policy changes"):
        client.set_iam_policy(request={"resource": name, "policy": policy})
    changed.bindings[0].members.append("group:developers@company.com")
    with pytest.raises(exceptions.BadRequest, match=r"Group developers@company\.com does not exist"):
        client.set_iam_policy(request={"resource": name, "policy": changed})


def test_anonymous_caller_is_unauthenticated(in_world: object) -> None:
    with requests.Session() as nobody:
        ask(nobody, "GET", f"{V1}/projects/{os.environ['PROJECT_ID']}", status=401)
        ask(nobody, "GET", f"{V1}/projects", status=401)
        ask(nobody, "POST", f"{V1}/projects", {"projectId": "ml-nobodys"}, status=401)


@pytest.mark.parametrize("version", [2, 7])
def test_invalid_policy_version_is_refused(learner: AuthorizedSession, version: int) -> None:
    url = f"{V1}/projects/{os.environ['PROJECT_ID']}:getIamPolicy"
    ask(learner, "POST", url, {"options": {"requestedPolicyVersion": version}}, status=400)


def test_name_and_labels_are_updated(learner: AuthorizedSession) -> None:
    made = make(learner, name="Made here", labels={"workbook-run": "a1"})
    made.pop("@type")
    url = f"{V1}/projects/{made['projectId']}"
    changed = ask(learner, "PUT", url, {**made, "name": "Renamed", "labels": {"team": "ml"}})
    assert changed == {**made, "name": "Renamed", "labels": {"team": "ml"}}
    assert ask(learner, "GET", url) == changed
    for body in ({"name": "no"}, {"name": "Renamed", "labels": {"A": "b"}}, {"name": "Renamed", "colour": "blue"}):
        ask(learner, "PUT", url, body, status=400)
    ask(learner, "PUT", url, {"name": "Renamed", "parent": {"type": "folder", "id": "1"}}, status=501)
    assert ask(learner, "GET", url) == changed
