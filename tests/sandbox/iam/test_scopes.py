"""Limit a token to its scopes, at the APIs and at the registry."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.iam import scopes, tokens
from tests.sandbox.in_process import Learner

AUTH = "https://www.googleapis.com/auth/"
CLOUD = f"{AUTH}cloud-platform"
AR = "https://artifactregistry.googleapis.com/v1/projects/{project}/locations/us-central1/repositories"
BUCKETS = "https://storage.googleapis.com/storage/v1/b?project={project}"
ENTRIES = "https://logging.googleapis.com/v2/entries:list"
PROJECT = "https://cloudresourcemanager.googleapis.com/v1/projects/{project}"


@pytest.fixture(scope="module")
def account(learner: Learner) -> str:
    """Create an account with the role of owner of the project, and return its email."""
    learner.enable("iam.googleapis.com", "iamcredentials.googleapis.com", "artifactregistry.googleapis.com")
    learner.enable("logging.googleapis.com", "cloudresourcemanager.googleapis.com")
    email = f"everything@{learner.project}.iam.gserviceaccount.com"
    url = "https://iam.googleapis.com/v1/projects/{project}/serviceAccounts"
    learner.ask("POST", url, {"accountId": "everything"})
    policy = learner.ask("POST", f"{PROJECT}:getIamPolicy", {})
    bindings = [*policy["bindings"], {"role": "roles/owner", "members": [f"serviceAccount:{email}"]}]
    learner.ask("POST", f"{PROJECT}:setIamPolicy", {"policy": {**policy, "bindings": bindings}})
    own = f"{url}/{email}"
    grant = {"bindings": [{"role": "roles/iam.serviceAccountTokenCreator", "members": [_learner(policy)]}]}
    learner.ask("POST", f"{own}:setIamPolicy", {"policy": grant})
    return email


def _learner(policy: dict[str, Any]) -> str:
    found: str = next(one["members"][0] for one in policy["bindings"] if one["role"] == "roles/owner")
    return found


def token(learner: Learner, email: str, *wanted: str) -> str:
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    made: str = learner.ask("POST", url, {"scope": list(wanted)})["accessToken"]
    return made


CASES: list[tuple[tuple[str, ...], str, str, int]] = [
    ((CLOUD,), "POST", AR, 400),
    ((f"{AUTH}userinfo.email", CLOUD), "GET", AR, 200),
    ((f"{AUTH}cloud-platform.read-only",), "GET", AR, 200),
    ((f"{AUTH}cloud-platform.read-only",), "POST", AR, 403),
    ((f"{AUTH}cloud-platform.read-only",), "POST", f"{PROJECT}:getIamPolicy", 200),
    ((f"{AUTH}cloud-platform.read-only",), "POST", f"{PROJECT}:setIamPolicy", 403),
    ((f"{AUTH}devstorage.read_only",), "GET", BUCKETS, 200),
    ((f"{AUTH}devstorage.read_only",), "POST", BUCKETS, 403),
    ((f"{AUTH}devstorage.full_control",), "POST", BUCKETS, 400),
    ((f"{AUTH}devstorage.full_control",), "GET", PROJECT, 403),
    ((f"{AUTH}logging.read",), "POST", ENTRIES, 400),
    ((f"{AUTH}logging.read",), "GET", AR, 403),
    ((f"{AUTH}userinfo.email", "openid"), "GET", PROJECT, 403),
    ((f"{AUTH}no-such-scope",), "GET", PROJECT, 403),
]


@pytest.mark.parametrize(("wanted", "verb", "url", "status"), CASES, ids=[str(place) for place in range(len(CASES))])
def test_scopes_limit_what_roles_allow(
    learner: Learner, account: str, wanted: tuple[str, ...], verb: str, url: str, status: int
) -> None:
    """The status 400 is the method's refusal of the empty body, after the scopes allowed the call."""
    headers = {"Authorization": f"Bearer {token(learner, account, *wanted)}"}
    body = None if verb == "GET" else {}
    answer = learner.session.request(verb, url.format(project=learner.project), json=body, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 403:
        error = answer.json()["error"]
        assert error["message"] == "Request had insufficient authentication scopes."
        assert error["details"][0]["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"


@pytest.mark.parametrize(
    ("wanted", "actions", "status"),
    [
        (CLOUD, "pull,push", 200),
        (f"{AUTH}devstorage.read_only", "pull", 200),
        (f"{AUTH}devstorage.read_only", "pull,push", 403),
        (f"{AUTH}userinfo.email", "pull", 403),
    ],
)
def test_registry_token_is_limited_by_scopes(
    learner: Learner, account: str, wanted: str, actions: str, status: int
) -> None:
    image = f"us-central1-docker.pkg.dev/{learner.project}/r/app"
    params = {"service": "localhost", "scope": f"repository:{image}:{actions}"}
    headers = {"Authorization": f"Bearer {token(learner, account, wanted)}"}
    answer = learner.session.get("/v2/token", params=params, headers=headers)
    assert answer.status_code == status, answer.text


def test_tokeninfo_lists_the_scopes(learner: Learner, account: str) -> None:
    made = token(learner, account, f"{AUTH}devstorage.read_only", "openid")
    info = learner.ask("GET", f"https://oauth2.googleapis.com/tokeninfo?access_token={made}")
    assert set(info["scope"].split()) == {f"{AUTH}devstorage.read_only", "openid"}
    whole = learner.ask("GET", f"https://oauth2.googleapis.com/tokeninfo?access_token={token(learner, account, CLOUD)}")
    assert whole["scope"] == CLOUD


def test_minted_token_is_not_limited_by_default(learner: Learner, account: str) -> None:
    found = tokens.held(learner.world, tokens.mint(learner.world, f"serviceAccount:{account}"))
    assert found is not None
    assert found[0].scopes == ()
    assert scopes.narrow([CLOUD, "openid"]) == ()
