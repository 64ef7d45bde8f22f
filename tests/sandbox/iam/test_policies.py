"""Store policies, refuse invalid ones, and decide by inherited ones."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cli.world import starter
from sandbox import seed
from sandbox.errors import ApiError, not_found
from sandbox.iam import members, policies, tokens
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

PROJECT, OTHER = "projects/ml-one", "projects/ml-two"
REPOSITORY = f"{PROJECT}/locations/us-central1/repositories/ml-images"
READER, WRITER = "roles/artifactregistry.reader", "roles/artifactregistry.writer"
PULL, PUSH = "artifactregistry.repositories.downloadArtifacts", "artifactregistry.repositories.uploadArtifacts"
CI = "serviceAccount:ml-pusher@ml-one.iam.gserviceaccount.com"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "state", Clock(dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)))
    with world.writing() as rows:
        projects.create(rows, world, "ml-one", "One", {})
        projects.create(rows, world, "ml-two", "Two", {})
        projects.add_service_account(rows, world, "ml-one", "ml-pusher", "")
    yield world
    world.close()


def bind(role: str, *named: str, **more: Any) -> dict[str, Any]:
    return {"bindings": [{"role": role, "members": list(named), **more}]}


def read(world: World, resource: str) -> dict[str, Any]:
    with world.reading() as rows:
        return policies.get_policy(rows, resource)


def refused(world: World, resource: str, policy: dict[str, Any]) -> ApiError:
    before = read(world, resource)
    with pytest.raises(ApiError) as caught:
        policies.set_policy(world, resource, policy)
    assert read(world, resource) == before
    return caught.value


def test_policy_that_was_never_set_has_only_an_etag(state: World) -> None:
    assert read(state, REPOSITORY) == {"etag": "ACAB"}


def test_set_policy_checks_existence_in_its_transaction(state: World) -> None:
    def exists() -> None:
        with pytest.raises(RuntimeError, match="a transaction is already open"), state.writing():
            pass

    policies.set_policy(state, REPOSITORY, bind(READER, CI), exists)
    before = read(state, REPOSITORY)

    def gone() -> None:
        raise not_found()

    with pytest.raises(ApiError):
        policies.set_policy(state, REPOSITORY, bind(WRITER, CI), gone)
    assert read(state, REPOSITORY) == before


def test_members_are_sorted_and_merged(state: World) -> None:
    policy = {
        "version": 3,
        "bindings": [
            {"role": WRITER, "members": [CI]},
            {"role": READER, "members": ["user:Chen@example.com", "allUsers"]},
            {"role": READER, "members": ["user:ana@example.com", "allUsers"]},
            {"role": "roles/artifactregistry.admin", "members": []},
        ],
    }
    answer = policies.set_policy(state, REPOSITORY, policy)
    assert answer == read(state, REPOSITORY)
    assert answer["version"] == 1
    assert answer["bindings"] == [
        {"role": READER, "members": ["allUsers", "user:ana@example.com", "user:chen@example.com"]},
        {"role": WRITER, "members": [CI]},
    ]


def test_emptied_policy_has_version_and_etag(state: World) -> None:
    policies.set_policy(state, REPOSITORY, bind(READER, "allUsers"))
    answer = policies.set_policy(state, REPOSITORY, {})
    assert answer.keys() == {"version", "etag"}
    assert answer["etag"] != "ACAB"


def test_repository_inherits_from_its_own_project_only(state: World) -> None:
    policies.set_policy(state, PROJECT, bind(READER, CI))
    policies.set_policy(state, REPOSITORY, bind(WRITER, CI))
    assert policies.decide(state, CI, PULL, PROJECT).allowed
    assert not policies.decide(state, CI, PUSH, PROJECT).allowed
    assert policies.decide(state, CI, PUSH, REPOSITORY).allowed
    assert not policies.decide(state, CI, PULL, f"{OTHER}/locations/us-central1/repositories/ml-images").allowed
    assert not policies.decide(state, CI, PULL, f"{PROJECT}-more").allowed
    both = policies.decide(state, CI, PULL, REPOSITORY).granted_by
    assert [(grant.resource, grant.role) for grant in both] == [(REPOSITORY, WRITER), (PROJECT, READER)]


def test_anonymous_caller_matches_only_all_users(state: World) -> None:
    policies.set_policy(state, REPOSITORY, bind(READER, "allAuthenticatedUsers"))
    assert not policies.decide(state, "", PULL, REPOSITORY).allowed
    policies.set_policy(state, REPOSITORY, bind(READER, "allUsers"))
    assert policies.decide(state, "", PULL, REPOSITORY).allowed
    assert not policies.decide(state, "", PUSH, REPOSITORY).allowed


def test_group_members_come_from_the_directory(state: World) -> None:
    policies.set_policy(state, REPOSITORY, bind(WRITER, "group:ml-team@example.com"))
    assert policies.decide(state, "user:ana@example.com", PUSH, REPOSITORY).allowed
    assert not policies.decide(state, "user:chen@example.com", PUSH, REPOSITORY).allowed


def test_outdated_etag_is_refused(state: World) -> None:
    first = policies.set_policy(state, REPOSITORY, bind(READER, "allUsers"))
    policies.set_policy(state, REPOSITORY, bind(READER, CI) | {"etag": first["etag"]})
    error = refused(state, REPOSITORY, bind(WRITER, CI) | {"etag": first["etag"]})
    assert (error.http_status, error.status) == (409, "ABORTED")
    assert "concurrent policy changes" in error.message


def test_etag_that_is_not_base64_is_refused(state: World) -> None:
    assert refused(state, REPOSITORY, bind(READER, CI) | {"etag": "%%%"}).http_status == 400


def test_etags_never_repeat(state: World) -> None:
    found = [policies.set_policy(state, REPOSITORY, bind(READER, CI))["etag"] for _ in range(20)]
    assert len(set(found)) == 20
    assert sorted(found, key=base64.b64decode) == found


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("ml-pusher@ml-one.iam.gserviceaccount.com", "is of an unknown type. Please set a valid type prefix"),
        ("robot:ana@example.com", "is of an unknown type"),
        ("user:", "Invalid member"),
        ("user:nobody@example.com", "User nobody@example.com does not exist."),
        ("group:developers@company.com", "Group developers@company.com does not exist."),
        ("domain:company.com", "Domain company.com does not exist."),
        ("serviceAccount:ghost@ml-one.iam.gserviceaccount.com", "does not exist."),
        ("serviceAccount:cloudbuild@your-project-id.iam.gserviceaccount.com", "does not exist."),
        ("serviceAccount:1@cloudbuild.gserviceaccount.com", "does not exist."),
        ("user:ml-pusher@ml-one.iam.gserviceaccount.com", 'is of type "serviceAccount"'),
        ("user:ml-team@example.com", 'is of type "group"'),
        ("deleted:serviceAccount:x@ml-one.iam.gserviceaccount.com?uid=1", "unknown type"),
    ],
)
def test_missing_member_is_refused(state: World, member: str, words: str) -> None:
    error = refused(state, REPOSITORY, bind(READER, member))
    assert (error.http_status, error.status) == (400, "INVALID_ARGUMENT")
    assert words in error.message


@pytest.mark.parametrize("account", members.GOOGLE_MADE)
def test_googles_own_accounts_exist(state: World, account: str) -> None:
    found = projects.find(state, "ml-one")
    assert found is not None
    member = f"serviceAccount:{account.format(number=found.number)}"
    assert policies.set_policy(state, REPOSITORY, bind(READER, member))["bindings"][0]["members"] == [member]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (bind("roles/artifactregistry.pusher", CI), "Role roles/artifactregistry.pusher is not supported"),
        (bind("artifactregistry.reader", CI), "is not supported"),
        (bind("projects/ml-two/roles/own", CI), "is not supported"),
        (bind(READER, CI, condition={"expression": "true", "title": "x"}), "knows no conditions"),
        (bind(READER, CI, condition={}), "knows no conditions"),
        (bind(READER, CI) | {"version": 2}, "version 2"),
        ({"binding": []}, 'Unknown name "binding"'),
        ({"bindings": [{"role": READER, "member": CI}]}, 'Unknown name "member"'),
    ],
)
def test_invalid_policy_is_refused(state: World, policy: dict[str, Any], words: str) -> None:
    error = refused(state, REPOSITORY, policy)
    assert error.http_status == 400
    assert words in error.message


@pytest.mark.parametrize("member", ["allUsers", "allAuthenticatedUsers"])
@pytest.mark.parametrize("resource", [PROJECT, f"{PROJECT}/serviceAccounts/ml-pusher@ml-one.iam.gserviceaccount.com"])
def test_project_and_account_cannot_be_public(state: World, resource: str, member: str) -> None:
    assert "cannot be added to this resource" in refused(state, resource, bind(READER, member)).message


def test_project_must_keep_an_owner(state: World) -> None:
    with state.writing() as rows:
        policies.grant(rows, state, PROJECT, "roles/owner", CI)
    error = refused(state, PROJECT, bind(READER, CI))
    assert error.status == "FAILED_PRECONDITION"
    assert policies.decide(state, CI, "resourcemanager.projects.setIamPolicy", PROJECT).allowed


def test_deleted_resource_leaves_no_policy(state: World) -> None:
    policies.set_policy(state, REPOSITORY, bind(WRITER, CI))
    policies.set_policy(state, f"{REPOSITORY}-2", bind(WRITER, CI))
    with state.writing() as rows:
        policies.forget(rows, REPOSITORY)
    assert not policies.decide(state, CI, PUSH, REPOSITORY).allowed
    assert policies.decide(state, CI, PUSH, f"{REPOSITORY}-2").allowed


def test_account_can_be_named_without_its_project(state: World) -> None:
    name = f"{PROJECT}/serviceAccounts/ml-pusher@ml-one.iam.gserviceaccount.com"
    policies.set_policy(state, name, bind("roles/iam.serviceAccountTokenCreator", "user:ana@example.com"))
    token = "iam.serviceAccounts.getAccessToken"
    loose = "projects/-/serviceAccounts/ml-pusher@ml-one.iam.gserviceaccount.com"
    assert policies.decide(state, "user:ana@example.com", token, loose).allowed
    assert policies.decide(state, "user:ana@example.com", token, loose).resource == name
    wrong = name.replace(PROJECT, OTHER)
    # A wrong project in the name has no influence: no project's policy decides.
    assert policies.decide(state, "user:ana@example.com", token, wrong).resource == loose
    assert not policies.decide(state, "user:ana@example.com", token, wrong).allowed
    # Another project's policy does not apply to the account.
    policies.set_policy(state, OTHER, bind("roles/iam.serviceAccountTokenCreator", "user:ben@example.com"))
    assert not policies.decide(state, "user:ben@example.com", token, name).allowed


def test_test_permissions_returns_the_held_ones(state: World) -> None:
    policies.set_policy(state, REPOSITORY, bind(READER, CI))
    assert policies.test_permissions(state, CI, REPOSITORY, [PUSH, PULL, "no.such.thing"]) == [PULL]
    with pytest.raises(ApiError, match="wildcards"):
        policies.test_permissions(state, CI, REPOSITORY, ["artifactregistry.*"])


def test_new_resource_ignores_a_policy_of_an_older_state(tmp_path: Path) -> None:
    """Older sandboxes could store a policy of a missing resource, or keep one of a deleted resource."""
    world = World(tmp_path / "state", Clock())
    about = seed.prepare(world, tmp_path, "ml-one", "us-central1")
    owner = f"serviceAccount:{about['learner']}"
    region, account = f"{PROJECT}/locations/us-central1", "someone@ml-one.iam.gserviceaccount.com"
    image = "us-central1-docker.pkg.dev/ml-one/none/none"
    # By resource: URL and body of its creation, base URL and verb for its policy
    made: dict[str, tuple[str, dict[str, Any], str, str]] = {
        f"{region}/repositories/r": (
            f"artifactregistry.googleapis.com/v1/{region}/repositories?repositoryId=r",
            {"format": "DOCKER"},
            "artifactregistry.googleapis.com/v1",
            "GET",
        ),
        f"{PROJECT}/secrets/s": (
            f"secretmanager.googleapis.com/v1/{PROJECT}/secrets?secretId=s",
            {"replication": {"automatic": {}}},
            "secretmanager.googleapis.com/v1",
            "GET",
        ),
        f"{region}/services/s": (
            f"run.googleapis.com/v2/{region}/services?serviceId=s",
            {"template": {"containers": [{"image": image}]}},
            "run.googleapis.com/v2",
            "GET",
        ),
        f"{PROJECT}/serviceAccounts/{account}": (
            f"iam.googleapis.com/v1/{PROJECT}/serviceAccounts",
            {"accountId": "someone"},
            "iam.googleapis.com/v1",
            "POST",
        ),
    }
    with world.writing() as rows:
        policies.grant(rows, world, PROJECT, "roles/owner", owner)
        rows.execute("UPDATE projects SET billing_account = ?", (seed.BILLING_ACCOUNT,))
        for service in ("artifactregistry", "secretmanager", "run", "iam"):
            rows.execute("INSERT OR IGNORE INTO services VALUES ('ml-one', ?, 'x')", (f"{service}.googleapis.com",))
        for resource in made:
            policies.grant(rows, world, resource, READER, f"serviceAccount:old@{account.partition('@')[2]}")
    token = tokens.mint(world, owner)
    world.close()
    # A real server, since Cloud Run does not deploy without one.
    opened = starter.start(tmp_path, project="ml-one", port=0)
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {token}"
            for resource, (path, body, where, verb) in made.items():
                answer = session.post(f"{opened.url}/{path}", json=body, timeout=30)
                assert answer.status_code == 200, answer.text
                url = f"{opened.url}/{where}/{resource}:getIamPolicy"
                assert "bindings" not in session.request(verb, url, timeout=30).json(), resource
    finally:
        starter.stop(tmp_path)
