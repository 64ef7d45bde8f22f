"""Use service accounts, keys, custom roles and impersonation with Google's clients."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth
import google.auth.exceptions
import jwt
import pytest
import requests
from google.auth import impersonated_credentials
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account

from cli.world.starter import World
from tests.sandbox.conftest import SCOPES, ask, grant, learner_with, project, projects_url

IAM = "https://iam.googleapis.com/v1"


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """Return the learner's session, in a project with the APIs enabled."""
    with learner_with("iam", "iamcredentials", "artifactregistry") as session:
        yield session


def make(session: AuthorizedSession) -> dict[str, Any]:
    body = {"accountId": f"ml-{secrets.token_hex(5)}", "serviceAccount": {"displayName": "A test's"}}
    return ask(session, "POST", f"{IAM}/projects/{project()}/serviceAccounts", body)


def make_key(session: AuthorizedSession, account: dict[str, Any]) -> dict[str, Any]:
    key = ask(session, "POST", f"{IAM}/{account['name']}/keys", {})
    return {"name": key["name"], "file": json.loads(base64.b64decode(key["privateKeyData"]))}


def test_account_is_created_read_listed_and_deleted(learner: AuthorizedSession) -> None:
    account = make(learner)
    account_id = account["email"].partition("@")[0]
    assert account["email"] == f"{account_id}@{project()}.iam.gserviceaccount.com"
    for owner in (project(), "-", os.environ["PROJECT_NUMBER"]):
        for name in (account["email"], account["uniqueId"]):
            assert ask(learner, "GET", f"{IAM}/projects/{owner}/serviceAccounts/{name}") == account
    listed = ask(learner, "GET", f"{IAM}/projects/{project()}/serviceAccounts?pageSize=100")["accounts"]
    assert account in listed
    again = ask(learner, "POST", f"{IAM}/projects/{project()}/serviceAccounts", {"accountId": account_id}, status=409)[
        "error"
    ]
    assert again["status"] == "ALREADY_EXISTS"
    assert again["message"] == f"Service account {account_id} already exists within project projects/{project()}."
    ask(learner, "DELETE", f"{IAM}/{account['name']}")
    assert ask(learner, "GET", f"{IAM}/{account['name']}", status=404)["error"]["status"] == "NOT_FOUND"


@pytest.mark.parametrize("account_id", ["ml-ci", "x" * 31, "1abcdef", "abcdef-", "ABCDEF", "abc_def", "", 7])
def test_invalid_account_id_is_refused(learner: AuthorizedSession, account_id: object) -> None:
    body = {"accountId": account_id}
    error = ask(learner, "POST", f"{IAM}/projects/{project()}/serviceAccounts", body, status=400)["error"]
    assert error["status"] == "INVALID_ARGUMENT"


def test_key_is_valid_until_deleted(learner: AuthorizedSession) -> None:
    account = make(learner)
    key = make_key(learner, account)
    listed = ask(learner, "GET", f"{IAM}/{account['name']}/keys")["keys"]
    assert [entry["name"] for entry in listed] == [key["name"]]
    # Only the response to the key's creation has the private key.
    assert "privateKeyData" not in json.dumps([listed, ask(learner, "GET", f"{IAM}/{key['name']}")])
    credentials = service_account.Credentials.from_service_account_info(key["file"], scopes=SCOPES)
    with AuthorizedSession(credentials) as holder:
        assert ask(holder, "GET", f"{IAM}/roles/artifactregistry.reader")["title"] == "Artifact Registry Reader"
        ask(learner, "DELETE", f"{IAM}/{key['name']}")
        fresh = service_account.Credentials.from_service_account_info(key["file"], scopes=SCOPES)
        with AuthorizedSession(fresh) as late, pytest.raises(google.auth.exceptions.RefreshError, match="Invalid JWT"):
            late.get(f"{IAM}/roles/artifactregistry.reader")


@pytest.mark.parametrize("url", ["https://oauth2.googleapis.com/token", "https://www.googleapis.com/oauth2/v4/token"])
def test_assertion_without_key_id_is_accepted(learner: AuthorizedSession, url: str) -> None:
    account = make(learner)
    first, second = (make_key(learner, account)["file"] for _ in range(2))
    now = int(time.time())
    claims = {"iss": account["email"], "aud": url, "iat": now, "exp": now + 600, "scope": SCOPES[0]}
    for key in (first, second):
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": jwt.encode(claims, key["private_key"], algorithm="RS256"),
        }
        assert requests.post(url, data=form, timeout=30).json()["token_type"] == "Bearer"
    other = make_key(learner, make(learner))["file"]
    forged = {**form, "assertion": jwt.encode(claims, other["private_key"], algorithm="RS256")}
    assert requests.post(url, data=forged, timeout=30).json()["error"] == "invalid_grant"


def test_eleventh_key_is_refused(learner: AuthorizedSession) -> None:
    account = make(learner)
    for _ in range(10):
        make_key(learner, account)
    error = ask(learner, "POST", f"{IAM}/{account['name']}/keys", {}, status=400)["error"]
    assert error["status"] == "FAILED_PRECONDITION"


@pytest.mark.parametrize("end", ["disable", "delete"])
def test_disabled_or_deleted_account_is_unauthenticated_immediately(learner: AuthorizedSession, end: str) -> None:
    account = make(learner)
    credentials = service_account.Credentials.from_service_account_info(
        make_key(learner, account)["file"], scopes=SCOPES
    )
    with AuthorizedSession(credentials, refresh_status_codes=()) as holder:
        ask(holder, "GET", f"{IAM}/roles/viewer")
        if end == "disable":
            ask(learner, "POST", f"{IAM}/{account['name']}:disable", {})
            assert ask(learner, "GET", f"{IAM}/{account['name']}")["disabled"] is True
        else:
            ask(learner, "DELETE", f"{IAM}/{account['name']}")
        ask(holder, "GET", f"{IAM}/roles/viewer", status=401)
        if end == "disable":
            ask(learner, "POST", f"{IAM}/{account['name']}:enable", {})
            credentials.refresh(google.auth.transport.requests.Request())
            ask(holder, "GET", f"{IAM}/roles/viewer")


def test_recreated_account_inherits_no_roles(learner: AuthorizedSession) -> None:
    account = make(learner)
    member = f"serviceAccount:{account['email']}"
    grant(learner, projects_url(), "roles/artifactregistry.writer", member)
    ask(learner, "DELETE", f"{IAM}/{account['name']}")
    body = {"accountId": account["email"].partition("@")[0]}
    anew = ask(learner, "POST", f"{IAM}/projects/{project()}/serviceAccounts", body)
    named = json.dumps(ask(learner, "POST", f"{projects_url()}:getIamPolicy", {}))
    assert f'"{member}"' not in named
    assert f"deleted:{member}?uid={account['uniqueId']}" in named
    credentials = service_account.Credentials.from_service_account_info(make_key(learner, anew)["file"], scopes=SCOPES)
    with AuthorizedSession(credentials) as holder:
        wanted = {"permissions": ["artifactregistry.repositories.uploadArtifacts"]}
        assert ask(holder, "POST", f"{projects_url()}:testIamPermissions", wanted) == {}
    # The policy can still be changed, although it has a deleted member.
    grant(learner, projects_url(), "roles/artifactregistry.reader", member)


def test_impersonation_needs_the_token_creator_role(learner: AuthorizedSession) -> None:
    account = make(learner)
    source, _ = google.auth.default(scopes=SCOPES)
    as_account = impersonated_credentials.Credentials(source, account["email"], SCOPES, lifetime=600)
    with pytest.raises(google.auth.exceptions.RefreshError, match=r"iam\.serviceAccounts\.getAccessToken"):
        as_account.refresh(google.auth.transport.requests.Request())
    member = f"serviceAccount:{source.service_account_email}"
    grant(learner, f"{IAM}/{account['name']}", "roles/iam.serviceAccountTokenCreator", member)
    with AuthorizedSession(as_account) as holder:
        assert ask(holder, "GET", f"{IAM}/roles/viewer")["name"] == "roles/viewer"
        # The caller is now the account, which has no role in the project.
        error = ask(holder, "GET", f"{IAM}/projects/{project()}/serviceAccounts", status=403)["error"]
        assert "'iam.serviceAccounts.list' denied" in error["message"]
    left = as_account.expiry.replace(tzinfo=dt.UTC) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(seconds=500) < left <= dt.timedelta(seconds=600)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"scope": []}, 400),
        ({"scope": "all"}, 400),
        ({"scope": SCOPES, "lifetime": "3601s"}, 400),
        ({"scope": SCOPES, "lifetime": "0s"}, 400),
        ({"scope": SCOPES, "lifetime": "an hour"}, 400),
        ({"scope": SCOPES, "lifetime": 600}, 400),
        ({"scope": SCOPES, "delegates": ["projects/-/serviceAccounts/x@y.z"]}, 501),
        ({"scope": SCOPES, "lifetime": "3600s"}, 200),
    ],
)
def test_generate_access_token_checks_its_body(learner: AuthorizedSession, body: dict[str, Any], status: int) -> None:
    account = make(learner)
    member = f"serviceAccount:learner@{project()}.iam.gserviceaccount.com"
    grant(learner, f"{IAM}/{account['name']}", "roles/iam.serviceAccountTokenCreator", member)
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account['email']}"
    ask(learner, "POST", f"{url}:generateAccessToken", body, status=status)


@pytest.mark.parametrize("verb", ["generateIdToken", "signJwt", "signBlob"])
def test_unsupported_methods_are_unimplemented(learner: AuthorizedSession, verb: str) -> None:
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{make(learner)['email']}:{verb}"
    assert ask(learner, "POST", url, {}, status=501)["error"]["status"] == "UNIMPLEMENTED"


def test_account_cannot_be_reached_through_another_project(learner: AuthorizedSession) -> None:
    account = make(learner)
    other = f"ml-other-{secrets.token_hex(4)}"
    ask(learner, "POST", "https://cloudresourcemanager.googleapis.com/v1/projects", {"projectId": other})
    # The learner owns the other project, but the account is not in it, so that project's policy does not apply.
    ask(learner, "GET", f"{IAM}/projects/{other}/serviceAccounts/{account['email']}", status=403)
    ask(learner, "DELETE", f"{IAM}/projects/{other}/serviceAccounts/{account['email']}", status=403)
    ask(learner, "POST", f"{IAM}/projects/{other}/serviceAccounts/{account['email']}/keys", {}, status=403)
    ask(learner, "GET", f"{IAM}/{account['name']}")
    # The API is not enabled in the other project.
    assert (
        "has not been used"
        in ask(learner, "GET", f"{IAM}/projects/{other}/serviceAccounts", status=403)["error"]["message"]
    )


def test_custom_role_grants_its_permissions(learner: AuthorizedSession) -> None:
    role_id = f"mover_{secrets.token_hex(4)}"
    roles_url = f"{IAM}/projects/{project()}/roles"
    body = {"roleId": role_id, "role": {"title": "Mover", "includedPermissions": ["artifactregistry.tags.update"]}}
    role = ask(learner, "POST", roles_url, body)
    ask(learner, "POST", roles_url, body, status=409)
    account = make(learner)
    grant(learner, projects_url(), role["name"], f"serviceAccount:{account['email']}")
    credentials = service_account.Credentials.from_service_account_info(
        make_key(learner, account)["file"], scopes=SCOPES
    )
    names = ["artifactregistry.tags.delete", "artifactregistry.tags.update"]
    with AuthorizedSession(credentials) as holder:

        def held() -> list[str]:
            url = f"{projects_url()}:testIamPermissions"
            found: list[str] = ask(holder, "POST", url, {"permissions": names}).get("permissions", [])
            return found

        assert held() == names[1:]
        url = f"{IAM}/{role['name']}"
        changed = ask(learner, "PATCH", f"{url}?updateMask=includedPermissions", {"includedPermissions": names})
        assert changed["title"] == "Mover"
        assert held() == names
        ask(learner, "PATCH", url, {"title": "Late", "etag": role["etag"]}, status=409)
        assert ask(learner, "DELETE", url)["deleted"] is True
        assert held() == []
        ask(learner, "DELETE", url, status=400)
        assert "deleted" not in ask(learner, "POST", f"{url}:undelete", {})
        assert held() == names


@pytest.mark.parametrize(
    "role",
    [
        {"includedPermissions": ["artifactregistry.tags.fly"]},
        {"permissions": ["artifactregistry.tags.get"]},
        {"stage": "SOON"},
        "Mover",
    ],
)
def test_invalid_custom_role_is_refused(learner: AuthorizedSession, role: object) -> None:
    body = {"roleId": "mistaken", "role": role}
    ask(learner, "POST", f"{IAM}/projects/{project()}/roles", body, status=400)
    ask(learner, "GET", f"{IAM}/projects/{project()}/roles/mistaken", status=404)


def test_predefined_roles_can_be_read(learner: AuthorizedSession) -> None:
    reader = ask(learner, "GET", f"{IAM}/roles/artifactregistry.reader")
    assert len(reader["includedPermissions"]) == 33
    assert "includedPermissions" not in ask(learner, "GET", f"{IAM}/roles?pageSize=5")["roles"][0]
    ask(learner, "GET", f"{IAM}/roles/artifactregistry.pusher", status=404)


@pytest.mark.gcloud
def test_gcloud_grants_impersonates_and_is_refused(
    learner: AuthorizedSession, gcloud: Path, environment: dict[str, str], world: World
) -> None:
    account_id = f"ml-{secrets.token_hex(5)}"
    email = f"{account_id}@{project()}.iam.gserviceaccount.com"

    def run(*words: str, fails: bool = False) -> str:
        done = subprocess.run(
            [gcloud, *words, "--quiet"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    run("iam", "service-accounts", "create", account_id)
    refused = run("auth", "print-access-token", f"--impersonate-service-account={email}", fails=True)
    assert "Make sure the account that's trying to impersonate it has access" in refused
    assert "iam.serviceAccounts.getAccessToken" in refused
    run(
        "iam",
        "service-accounts",
        "add-iam-policy-binding",
        email,
        f"--member=serviceAccount:{world.info.learner}",
        "--role=roles/iam.serviceAccountTokenCreator",
    )
    run(
        "projects",
        "add-iam-policy-binding",
        project(),
        f"--member=serviceAccount:{email}",
        "--role=roles/artifactregistry.reader",
    )
    run("artifacts", "repositories", "list", "--location=us-central1", f"--impersonate-service-account={email}")
    role_id = f"mover_{secrets.token_hex(4)}"
    permission = "--permissions=artifactregistry.tags.update"
    run("iam", "roles", "create", role_id, f"--project={project()}", "--title=Mover", permission)


def test_display_name_and_description_are_patched(learner: AuthorizedSession) -> None:
    made = make(learner)
    url = f"{IAM}/{made['name']}"
    body = {"serviceAccount": {"description": "For CI", "displayName": "Not this"}, "updateMask": "description"}
    changed = ask(learner, "PATCH", url, body)
    assert changed == {"name": made["name"], "displayName": "A test's", "description": "For CI"}
    assert ask(learner, "GET", url) == {**made, "description": "For CI"}
    for wrong in ({"serviceAccount": {}}, {**body, "updateMask": "email"}, {**body, "colour": "blue"}):
        ask(learner, "PATCH", url, wrong, status=400)


def test_refusal_has_the_older_list_of_errors(learner: AuthorizedSession) -> None:
    """Google's recorded errors have the older list `errors` beside `status`; old clients read only the list."""
    name = f"none@{project()}.iam.gserviceaccount.com"
    error = ask(learner, "GET", f"{IAM}/projects/{project()}/serviceAccounts/{name}", status=404)["error"]
    message = "Unknown service account"
    assert (error["message"], error["status"]) == (message, "NOT_FOUND")
    assert error["errors"] == [{"message": message, "domain": "global", "reason": "notFound"}]
