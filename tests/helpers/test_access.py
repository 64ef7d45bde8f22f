"""Who may do what, as helpers.access reads it through the public APIs, against the real sandbox."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import google.auth
import google.auth.exceptions
import pytest
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import artifactregistry_v1

from helpers import access, iam, identity, leftovers, names, projects, registry, repositories, sweep
from helpers.target import Target

APIS = (projects.ARTIFACT_REGISTRY, "iam.googleapis.com", "iamcredentials.googleapis.com")
UPLOAD = "artifactregistry.repositories.uploadArtifacts"


@pytest.fixture
def repository(in_world: Target) -> Iterator[names.Repository]:
    projects.enable(names.Project(in_world.project_id), *APIS)
    made = names.Repository(in_world.location, f"r-{secrets.token_hex(4)}")
    repositories.create(made, labels=in_world.labels)
    yield made
    repositories.delete(made)


@pytest.fixture
def ci(in_world: Target, repository: names.Repository) -> Iterator[access.ServiceAccount]:
    made = access.account(repository.project, "ci", secrets.token_hex(4))
    access.create_account(made, in_world.run, "Pushes")
    yield made
    with contextlib.suppress(exceptions.NotFound):
        access.delete_account(made)


def me() -> str:
    return identity.who_am_i().member


def test_an_account_s_id_comes_from_the_run_and_fits() -> None:
    project = names.Project("ml-workbook-lab")
    found = access.account(project, "ci", "20261122t114436-" + "x" * 40)
    assert found == access.account(project, "ci", "20261122t114436-" + "x" * 40)
    assert found != access.account(project, "ci", "another")
    assert 6 <= len(found.id) <= 30
    assert found.member == f"serviceAccount:{found.id}@ml-workbook-lab.iam.gserviceaccount.com"


def test_grant_and_revoke_leave_the_rest_alone(repository: names.Repository, ci: access.ServiceAccount) -> None:
    assert access.bindings(repository) == ()
    assert access.grant(repository, access.READER, ci.member)
    assert not access.grant(repository, access.READER, ci.member)
    assert access.grant(repository, access.WRITER, me())
    assert access.grant(repository, access.READER, me())
    held = {(one.role, one.member) for one in access.bindings(repository)}
    assert held == {(access.READER, ci.member), (access.WRITER, me()), (access.READER, me())}
    assert access.revoke(repository, access.READER, me())
    assert not access.revoke(repository, access.READER, me())
    assert {(one.role, one.member) for one in access.bindings(repository)} == held - {(access.READER, me())}
    assert access.grant(repository, access.REPO_ADMIN, ci.member)
    assert access.revoke_all(repository, ci.member)
    assert not access.revoke_all(repository, ci.member)
    assert [(one.role, one.member) for one in access.bindings(repository)] == [(access.WRITER, me())]


def test_a_policy_exists_on_projects_and_accounts_too(repository: names.Repository, ci: access.ServiceAccount) -> None:
    assert (repository.project.resource, "roles/owner", me()) in {
        (one.resource, one.role, one.member) for one in access.bindings(repository.project)
    }
    assert access.grant(repository.project, "roles/artifactregistry.viewer", ci.member)
    assert access.revoke(repository.project, "roles/artifactregistry.viewer", ci.member)
    assert access.grant(ci, access.TOKEN_CREATOR, me())
    assert [one.role for one in access.bindings(ci)] == [access.TOKEN_CREATOR]


def test_two_who_grant_at_once_both_succeed(repository: names.Repository, ci: access.ServiceAccount) -> None:
    """Read, change, write with an etag: the one who comes second is answered 409, and begins again."""
    wanted = [*itertools.product((access.READER, access.WRITER), (ci.member, me()))]
    failures: list[BaseException] = []

    def give(role: str, member: str) -> None:
        try:
            access.grant(repository, role, member)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is told to the test
            failures.append(error)

    threads = [threading.Thread(target=give, args=pair) for pair in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert {(one.role, one.member) for one in access.bindings(repository)} == set(wanted)


def test_a_write_over_somebody_else_s_is_refused_and_done_again(
    repository: names.Repository, ci: access.ServiceAccount
) -> None:
    tries = []

    def meddling(policy: dict[str, object]) -> bool:
        if not tries:
            # Between this one's read and write another one writes.
            access.grant(repository, access.READER, ci.member)
        tries.append(policy.get("etag"))
        policy["bindings"] = [*policy.get("bindings", []), {"role": access.WRITER, "members": [me()]}]  # type: ignore[misc]
        return True

    assert iam._change(repository, meddling)
    assert len(set(tries)) == len(tries) == 2
    assert {one.role for one in access.bindings(repository)} == {access.READER, access.WRITER}


def test_what_google_refuses_is_raised(repository: names.Repository) -> None:
    for member, text in (
        ("group:nobody-here@example.com", "Group nobody-here@example.com does not exist"),
        (f"serviceAccount:cloudbuild@{repository.project}.iam.gserviceaccount.com", "does not exist"),
        ("ana@example.com", "unknown type"),
    ):
        with pytest.raises(exceptions.BadRequest, match=text):
            access.grant(repository, access.READER, member)
    with pytest.raises(exceptions.BadRequest, match="not supported"):
        access.grant(repository, "roles/artifactregistry.pusher", me())
    assert access.bindings(repository) == ()


def test_a_role_holds_what_the_api_says(in_world: Target) -> None:
    assert len(access.permissions_of(access.WRITER)) == 44
    assert access.permissions_of("roles/artifactregistry.pusher") == frozenset()
    assert access.roles_with(UPLOAD)[0] == access.WRITER
    assert access.roles_with(*access.TASKS["delete"])[0] == access.REPO_ADMIN
    impersonation = access.roles_with("iam.serviceAccounts.getAccessToken")
    assert impersonation[:2] == ("roles/iam.workloadIdentityUser", access.TOKEN_CREATOR)
    assert not [one for one in access.roles_with("artifactregistry.versions.delete") if "serviceAgent" in one]


def test_why_a_push_is_refused_and_then_not(repository: names.Repository, ci: access.ServiceAccount) -> None:
    access.grant(repository, access.READER, ci.member)
    why = access.explain(ci.member, UPLOAD, repository)
    assert not why.allowed
    assert why.smallest == access.WRITER
    places = [looked.binding.resource for looked in why.looked_at]
    assert places == sorted(places, key=[repository.resource, repository.project.resource].index)
    named = [looked for looked in why.looked_at if looked.names_member]
    assert [(looked.binding.role, looked.holds_permission) for looked in named] == [(access.READER, False)]
    text = str(why)
    assert text.startswith(f"denied: {UPLOAD}")
    assert f"{access.READER}: names it, lacks the permission\n    for {ci.member}" in text
    assert f"the smallest first:\n  {access.WRITER}\n" in text

    access.grant(repository.project, access.WRITER, ci.member)
    why = access.explain(ci.member, UPLOAD, repository)
    assert [(one.resource, one.role) for one in why.granted_by] == [(repository.project.resource, access.WRITER)]
    assert str(why).startswith("allowed")
    access.revoke(repository.project, access.WRITER, ci.member)


def test_the_table_says_what_the_api_then_allows(repository: names.Repository, ci: access.ServiceAccount) -> None:
    """The table is computed from policies; testIamPermissions is Google's own answer. They agree, cell by cell."""
    access.grant(ci, access.TOKEN_CREATOR, me())
    credentials = identity.as_service_account(str(ci))
    roles = [access.READER, access.WRITER, "roles/artifactregistry.admin", "roles/run.invoker"]
    for role in roles:
        access.grant(repository, role, ci.member)
        row = next(one for one in access.rights(repository) if one.principal == ci.member)
        for task, permissions in access.TASKS.items():
            held = access.permitted(repository, *sorted(permissions), credentials=credentials)
            assert row.tasks[task] is (set(held) == permissions), f"{role}: {task}"
        assert (ci.member in access.who_can_push(repository)) is row.tasks["push"]
        assert len(row.row) == len(access.COLUMNS)
        access.revoke(repository, role, ci.member)
    assert ci.member not in {one.principal for one in access.rights(repository)}
    (mine,) = (one for one in access.rights(repository) if one.principal == me())
    assert all(mine.tasks.values())
    assert not any(access.rights(repository, "user:ana@example.com")[-1].tasks.values())


def test_the_public_is_part_of_everybody_s_rights(repository: names.Repository) -> None:
    access.grant(repository, access.READER, "allUsers")
    found = {one.principal: one.tasks for one in access.rights(repository, "user:ana@example.com")}
    assert found["user:ana@example.com"]["pull"]
    assert found["allUsers"]["pull"]
    assert not found["allUsers"]["push"]
    access.revoke(repository, access.READER, "allUsers")
    access.grant(repository, access.READER, "domain:example.com")
    found = {one.principal: one.tasks for one in access.rights(repository, "user:ana@example.com", "user:ana@b.org")}
    assert [found[one]["pull"] for one in ("user:ana@example.com", "user:ana@b.org")] == [True, False]


@pytest.mark.parametrize(
    ("role", "member", "place", "needed", "instead"),
    [
        (access.READER, "ci", "repository", None, None),
        (access.WRITER, "ci", "repository", None, None),
        (access.REPO_ADMIN, "ci", "repository", None, access.WRITER),
        ("roles/artifactregistry.admin", "ci", "repository", None, access.WRITER),
        (access.REPO_ADMIN, "ci", "repository", ["delete"], None),
        (access.WRITER, "ci", "repository", ["pull"], access.READER),
        (access.WRITER, "ci", "repository", [], ""),
        (access.READER, "ci", "project", None, access.READER),
        (access.WRITER, "ci", "project", None, access.WRITER),
        ("roles/viewer", "ci", "project", None, access.READER),
        ("roles/editor", "ci", "project", ["push"], access.WRITER),
        (access.REPO_ADMIN, "user:ana@example.com", "repository", None, None),
        (access.READER, "allUsers", "repository", None, access.READER),
        (access.WRITER, "allAuthenticatedUsers", "repository", None, ""),
        ("roles/run.invoker", "ci", "project", None, None),
        ("roles/cloudbuild.builds.builder", "ci", "project", None, None),
    ],
)
def test_grants_that_are_wider_than_needed(
    repository: names.Repository,
    ci: access.ServiceAccount,
    role: str,
    member: str,
    place: str,
    needed: list[str] | None,
    instead: str | None,
) -> None:
    who = ci.member if member == "ci" else member
    where = repository if place == "repository" else repository.project
    before = access.wider_than_needed(repository)
    access.grant(where, role, who)
    try:
        found = access.wider_than_needed(repository, {} if needed is None else {who: needed})
    finally:
        access.revoke(where, role, who)
    more = [one for one in found if one not in before]
    assert [(one.binding.role, one.binding.member) for one in more] == ([] if instead is None else [(role, who)])
    for one in more:
        assert one.instead.partition(" ")[0] == instead
        assert who in str(one)


def test_an_owner_is_found_and_a_narrower_role_named(repository: names.Repository) -> None:
    (found,) = access.wider_than_needed(repository)
    assert (found.binding.role, found.binding.member) == ("roles/owner", me())
    assert found.instead == f"roles/artifactregistry.admin on {repository.resource}"


def test_anybody_pulls_what_is_public_until_it_is_not(repository: names.Repository) -> None:
    image = repository.image("hello")
    registry.push(image.tag("1"), [{"hello.txt": "hello"}])
    assert not access.anyone_can_pull(image)
    access.grant(repository, access.READER, "allUsers")
    assert access.anyone_can_pull(image)
    access.revoke(repository, access.READER, "allUsers")
    assert not access.anyone_can_pull(image)


def test_impersonation_takes_the_token_creator_role(repository: names.Repository, ci: access.ServiceAccount) -> None:
    credentials = identity.as_service_account(str(ci))
    client = artifactregistry_v1.ArtifactRegistryClient(transport="rest", credentials=credentials)
    with pytest.raises(google.auth.exceptions.RefreshError, match="getAccessToken"):
        client.get_repository(name=repository.resource)
    access.grant(ci, access.TOKEN_CREATOR, me())
    with pytest.raises(exceptions.Forbidden, match=r"artifactregistry\.repositories\.get"):
        client.get_repository(name=repository.resource)
    access.grant(repository, access.READER, ci.member)
    assert client.get_repository(name=repository.resource).name == repository.resource
    assert access.permitted(repository, UPLOAD, credentials=credentials) == ()
    assert access.permitted(repository, UPLOAD) == (UPLOAD,)


@pytest.mark.docker
def test_docker_signs_in_as_the_account_in_a_folder_of_its_own(
    engine: docker.DockerClient, repository: names.Repository, ci: access.ServiceAccount, tmp_path: Path
) -> None:
    with pytest.raises(google.auth.exceptions.RefreshError):
        identity.sign_in(service_account=str(ci), folder=tmp_path)
    access.grant(ci, access.TOKEN_CREATOR, me())
    identity.sign_in(service_account=str(ci), folder=tmp_path)
    assert identity.signed_in(folder=tmp_path)
    assert not identity.signed_in(folder=tmp_path / "other")


def accounts(here: Target) -> tuple[leftovers.Leftover, ...]:
    return tuple(one for one in sweep.find_made(here) if one.kind == "service account")


def test_sweep_finds_the_accounts_of_this_run_and_no_others(in_world: Target, ci: access.ServiceAccount) -> None:
    other = access.account(ci.project, "other", secrets.token_hex(4))
    access.create_account(other, f"{in_world.run}-2")
    found = accounts(in_world)
    assert [(one.kind, one.name) for one in found if one.name == ci.resource] == [("service account", ci.resource)]
    assert other.resource not in {one.name for one in found}
    assert sweep.remove(found) == found
    assert not access.account_exists(ci)
    assert access.account_exists(other)
    assert sweep.remove(found) == ()
    access.delete_account(other)


def test_without_the_iam_api_no_account_is_found(in_world: Target, ci: access.ServiceAccount) -> None:
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    url = f"https://serviceusage.googleapis.com/v1/{ci.project.resource}/services/iam.googleapis.com"
    with AuthorizedSession(credentials) as session:
        assert session.post(f"{url}:disable", json={}).status_code == 200
        try:
            assert accounts(in_world) == ()
        finally:
            assert session.post(f"{url}:enable", json={}).status_code == 200
    assert ci.resource in {one.name for one in accounts(in_world)}
