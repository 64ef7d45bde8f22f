"""Create, read, change and list repositories with Google's Python client and by HTTP."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import artifactregistry_v1 as ar

from cli.world.starter import World
from helpers import projects
from helpers.names import Project

API = "https://artifactregistry.googleapis.com"


@pytest.fixture
def client(in_world: object) -> ar.ArtifactRegistryClient:
    projects.enable(Project(os.environ["PROJECT_ID"]), "artifactregistry.googleapis.com")
    return ar.ArtifactRegistryClient(transport="rest")


@pytest.fixture
def parent() -> str:
    return f"projects/{os.environ['PROJECT_ID']}/locations/us-central1"


@pytest.fixture
def repository(client: ar.ArtifactRegistryClient, in_world: object) -> Iterator[ar.Repository]:
    parent = f"projects/{os.environ['PROJECT_ID']}/locations/us-central1"
    made = client.create_repository(
        parent=parent,
        repository_id=f"r-{secrets.token_hex(4)}",
        repository=ar.Repository(format_="DOCKER", description="first", labels={"a": "1"}),
    ).result()
    yield made
    client.delete_repository(name=made.name).result()


def test_repository_is_created_read_and_listed(client: ar.ArtifactRegistryClient, repository: ar.Repository) -> None:
    found = client.get_repository(name=repository.name)
    assert found.mode is ar.Repository.Mode.STANDARD_REPOSITORY
    assert found.format_ is ar.Repository.Format.DOCKER
    assert found.registry_uri == f"us-central1-docker.pkg.dev/{os.environ['PROJECT_ID']}/{repository.name[-10:]}"
    assert found.vulnerability_scanning_config.enablement_state_reason == (
        "API containerscanning.googleapis.com is not enabled."
    )
    listed = {one.name: one for one in client.list_repositories(parent=repository.name.rsplit("/", 2)[0])}
    # As recorded on Google, only GET returns registryUri.
    assert listed[repository.name].registry_uri == ""


@pytest.mark.parametrize(
    ("query", "body", "message"),
    [
        ("", {"format": "DOCKER"}, "Request contains an invalid argument."),
        (
            "?repositoryId=new",
            {"format": "DOCKER", "mavenConfig": {}},
            'Maven config is not supported for format "DOCKER"',
        ),
        (
            "?repositoryId=new",
            {"format": "DOCKER", "remoteRepositoryConfig": {}},
            "remoteRepositoryConfig is not supported",
        ),
    ],
    ids=["no id", "maven", "remote"],
)
def test_invalid_docker_repository_is_refused(
    session: AuthorizedSession, repository: ar.Repository, query: str, body: dict[str, Any], message: str
) -> None:
    parent = repository.name.rsplit("/", 2)[0]
    answer = session.post(f"{API}/v1/{parent}/repositories{query}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)


def test_refusal_names_the_location(session: AuthorizedSession, repository: ar.Repository) -> None:
    url = f"{API}/v1/projects/your-project-id/locations/us-central1/repositories"
    for verb, permission in (("GET", "list"), ("POST", "create")):
        error = session.request(verb, url, json={"format": "DOCKER"} if verb == "POST" else None).json()["error"]
        where = "//artifactregistry.googleapis.com/projects/your-project-id/locations/us-central1"
        named = f"artifactregistry.repositories.{permission}"
        assert error["message"] == f"Permission '{named}' denied on resource '{where}' (or it may not exist)."


def test_project_number_replaces_its_id(client: ar.ArtifactRegistryClient, repository: ar.Repository) -> None:
    by_number = repository.name.replace(os.environ["PROJECT_ID"], os.environ["PROJECT_NUMBER"])
    assert client.get_repository(name=by_number).name == repository.name


@pytest.mark.parametrize("path", ["labels", "description,labels", "*", ""])
def test_patch_changes_the_fields_in_the_mask(
    session: AuthorizedSession, client: ar.ArtifactRegistryClient, repository: ar.Repository, path: str
) -> None:
    body = {"description": "second", "labels": {"b": "2"}}
    query = f"?updateMask={path}" if path else ""
    answer = session.patch(f"{API}/v1/{repository.name}{query}", json=body)
    assert answer.status_code == 200, answer.text
    # As recorded on Google, the response to PATCH has no registryUri.
    assert "registryUri" not in answer.json()
    found = client.get_repository(name=repository.name)
    assert dict(found.labels) == {"b": "2"}
    assert found.description == ("first" if path == "labels" else "second")
    assert found.format_ is ar.Repository.Format.DOCKER


@pytest.mark.parametrize("mask", ["dockerConfig.immutableTags", "docker_config.immutable_tags", "dockerConfig"])
def test_mask_is_accepted_in_both_spellings(
    session: AuthorizedSession, client: ar.ArtifactRegistryClient, repository: ar.Repository, mask: str
) -> None:
    url = f"{API}/v1/{repository.name}?updateMask={mask}"
    assert session.patch(url, json={"dockerConfig": {"immutableTags": True}}).status_code == 200
    assert client.get_repository(name=repository.name).docker_config.immutable_tags
    assert session.patch(url, json={}).status_code == 200
    assert not client.get_repository(name=repository.name).docker_config.immutable_tags


@pytest.mark.parametrize(
    ("mask", "body"),
    [
        ("nosuch", {}),
        ("dockerConfig.nosuch", {}),
        ("format", {"format": "NPM"}),
        ("name", {}),
        ("createTime", {}),
        ("", {"format": "NPM"}),
        ("labels", {"labels": {"Upper": "x"}}),
        ("labels", {"labels": {f"k{n}": "" for n in range(65)}}),
        ("cleanupPolicies", {"cleanupPolicies": {f"p{n}": {"action": "DELETE", "condition": {}} for n in range(11)}}),
        ("cleanupPolicies", {"cleanupPolicies": {"p": {"condition": {}}}}),
        ("cleanupPolicies", {"cleanupPolicies": {"p": {"action": "DELETE", "mostRecentVersions": {"keepCount": 1}}}}),
        ("cleanupPolicies", {"cleanupPolicies": {"p": {"action": "KEEP"}}}),
        ("cleanupPolicies", {"cleanupPolicies": {"p": {"action": "KEEP", "condition": {"packageName": "x"}}}}),
    ],
)
def test_invalid_patch_changes_nothing(
    session: AuthorizedSession, client: ar.ArtifactRegistryClient, repository: ar.Repository, mask: str, body: object
) -> None:
    before = client.get_repository(name=repository.name)
    answer = session.patch(f"{API}/v1/{repository.name}?updateMask={mask}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert client.get_repository(name=repository.name) == before


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("?repositoryId=Upper", {"format": "DOCKER"}, 400),
        ("?repositoryId=ends-", {"format": "DOCKER"}, 400),
        ("", {"format": "DOCKER"}, 400),
        ("?repositoryId=ok", {}, 400),
        ("?repositoryId=ok", {"format": "DOCKER", "nosuch": 1}, 400),
        ("?repositoryId=ok", {"format": "APT"}, 501),
        ("?repositoryId=ok", {"format": "GENERIC", "mode": "VIRTUAL_REPOSITORY"}, 501),
        ("?repositoryId=ok", {"format": "DOCKER", "mode": "REMOTE_REPOSITORY"}, 400),
        ("?repositoryId=ok", {"format": "DOCKER", "kmsKeyName": "x"}, 501),
        ("?repositoryId=ok", {"format": "DOCKER", "disallowUnspecifiedMode": True}, 400),
        ("?repositoryId=ok", [], 400),
    ],
)
def test_invalid_repository_is_not_created(
    session: AuthorizedSession,
    client: ar.ArtifactRegistryClient,
    parent: str,
    query: str,
    body: object,
    status: int,
) -> None:
    answer = session.post(f"{API}/v1/{parent}/repositories{query}", json=body)
    assert answer.status_code == status, answer.text
    assert len(answer.json()["error"]["message"]) > 20
    with pytest.raises(exceptions.NotFound):
        client.get_repository(name=f"{parent}/repositories/ok")


def test_taken_and_missing_names_have_googles_messages(
    client: ar.ArtifactRegistryClient, repository: ar.Repository
) -> None:
    parent, _, name = repository.name.rpartition("/repositories/")
    with pytest.raises(exceptions.Conflict, match="the repository already exists"):
        client.create_repository(parent=parent, repository_id=name, repository=ar.Repository(format_="DOCKER"))
    with pytest.raises(exceptions.NotFound, match="Requested entity was not found"):
        client.get_repository(name=f"{repository.name}x")


def test_unknown_location_is_refused(client: ar.ArtifactRegistryClient, parent: str) -> None:
    with pytest.raises(exceptions.Forbidden, match="Permission denied on 'locations/us-nowhere1'"):
        list(client.list_repositories(parent=parent.replace("us-central1", "us-nowhere1")))


def test_lists_are_filtered_ordered_and_paged(
    client: ar.ArtifactRegistryClient, repository: ar.Repository, parent: str
) -> None:
    second = client.create_repository(
        parent=parent, repository_id="z-other", repository=ar.Repository(format_="DOCKER")
    ).result()
    try:
        names = [one.name for one in client.list_repositories(request={"parent": parent, "page_size": 1})]
        assert {repository.name, second.name} <= set(names)
        assert len(names) == len(set(names))
        wanted = client.list_repositories(request={"parent": parent, "filter": f'name="{parent}/repositories/z-*"'})
        assert [one.name for one in wanted] == [second.name]
        newest = client.list_repositories(request={"parent": parent, "order_by": "createTime desc"})
        assert next(iter(newest)).name == second.name
    finally:
        client.delete_repository(name=second.name).result()


def test_unsupported_settings_are_unimplemented(session: AuthorizedSession, repository: ar.Repository) -> None:
    for path in (f"{repository.name}/rules", f"{repository.name}/attachments", "projects"):
        answer = session.get(f"{API}/v1/{path}")
        assert answer.status_code == 501
        assert "does not do this" in answer.json()["error"]["message"]
    place = f"{API}/v1/{repository.name.rpartition('/')[0]}"
    made = session.post(f"{place}?repositoryId=eu.gcr.io", json={"format": "DOCKER"})
    assert (made.status_code, "gcr.io" in made.json()["error"]["message"]) == (501, True)


def test_disabled_api_error_makes_gcloud_offer_to_enable_it(
    session: AuthorizedSession, client: ar.ArtifactRegistryClient, parent: str
) -> None:
    service = f"https://serviceusage.googleapis.com/v1/projects/{os.environ['PROJECT_ID']}/services"
    assert session.post(f"{service}/artifactregistry.googleapis.com:disable", json={}).status_code == 200
    try:
        error = session.get(f"{API}/v1/{parent}/repositories").json()["error"]
    finally:
        assert session.post(f"{service}/artifactregistry.googleapis.com:enable", json={}).status_code == 200
    assert error["code"] == 403
    assert error["details"][1]["reason"] == "SERVICE_DISABLED"
    assert "Enable it by visiting https://console.developers.google.com/apis/api/" in error["message"]


def test_paid_services_need_a_billing_account(session: AuthorizedSession, in_world: object) -> None:
    project = os.environ["PROJECT_ID"]
    billing = f"https://cloudbilling.googleapis.com/v1/projects/{project}/billingInfo"
    account = session.get(billing).json()["billingAccountName"]
    assert session.put(billing, json={"billingAccountName": ""}).status_code == 200
    try:
        url = f"https://serviceusage.googleapis.com/v1/projects/{project}/services/run.googleapis.com:enable"
        error = session.post(url, json={}).json()["error"]
    finally:
        assert session.put(billing, json={"billingAccountName": account}).json()["billingEnabled"] is True
    assert error["status"] == "FAILED_PRECONDITION"
    assert "Billing must be enabled for activation of service(s) 'run.googleapis.com'" in error["message"]


def test_request_log_has_the_calls_and_no_secret(world: World, client: ar.ArtifactRegistryClient, parent: str) -> None:
    list(client.list_repositories(parent=parent))
    logged = world.admin("requests")["requests"]
    last = [one for one in logged if one["method"].endswith("repositories.list")][-1]
    assert last["host"] == "artifactregistry.googleapis.com"
    assert last["status"] == 200
    assert last["door"] == "edge"
    assert last["principal"].startswith("learner@")
    assert "ya29." not in str(logged)
    assert "eyJ" not in str(logged)
