"""Create, change and delete workload identity pools and providers, with gcloud and by HTTP."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.transport.requests import AuthorizedSession
from hypothesis import given
from hypothesis import strategies as st

from sandbox.iam.pools import pool_of
from tests.sandbox.conftest import account, ask, done, learner_with, project

GITHUB = "https://token.actions.githubusercontent.com"
CLAIMS = (
    "The attribute condition must reference one of the provider's claims. For more information, see "
    "https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines#conditions"
)


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """Return the learner's session, in a project with the APIs enabled."""
    with learner_with("iam", "cloudresourcemanager") as session:
        yield session


def pools() -> str:
    return f"https://iam.googleapis.com/v1/projects/{project()}/locations/global/workloadIdentityPools"


def provider(**changes: Any) -> dict[str, Any]:
    """Return the body that gcloud sends for a provider, with changes; None removes a field."""
    body: dict[str, Any] = {
        "attributeMapping": {"google.subject": "assertion.sub", "attribute.repository": "assertion.repository"},
        "attributeCondition": "assertion.repository=='ana/models'",
        "oidc": {"issuerUri": GITHUB},
    }
    return {key: value for key, value in (body | changes).items() if value is not None}


@pytest.fixture
def pool(learner: AuthorizedSession) -> str:
    """Create a pool, and return its resource name."""
    name = f"pool-{secrets.token_hex(4)}"
    made = ask(learner, "POST", f"{pools()}?workloadIdentityPoolId={name}", {"displayName": "A test's"})
    found: str = done(learner, "iam.googleapis.com", made)["response"]["name"]
    assert found == f"projects/{os.environ['PROJECT_NUMBER']}/locations/global/workloadIdentityPools/{name}"
    return found


@pytest.mark.gcloud
def test_gcloud_trusts_one_repository_on_github(
    learner: AuthorizedSession, gcloud: Path, environment: dict[str, str]
) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(
            [gcloud, "iam", *words, "--quiet"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    name, place = f"pool-{secrets.token_hex(4)}", "--location=global"
    email = account(learner)
    assert "Created workload identity pool" in run("workload-identity-pools", "create", name, place)
    oidc = ["workload-identity-pools", "providers", "create-oidc", "actions", place]
    oidc += [f"--workload-identity-pool={name}", f"--issuer-uri={GITHUB}"]
    oidc += ["--attribute-mapping=google.subject=assertion.sub,attribute.repository=assertion.repository"]
    oidc += ["--attribute-condition=assertion.repository=='ana/models'"]
    run(*oidc)
    described = run(
        "workload-identity-pools",
        "providers",
        "describe",
        "actions",
        place,
        f"--workload-identity-pool={name}",
        "--format=value(state, attributeCondition, name)",
    )
    full = f"projects/{os.environ['PROJECT_NUMBER']}/locations/global/workloadIdentityPools/{name}"
    assert described.split() == ["ACTIVE", "assertion.repository=='ana/models'", f"{full}/providers/actions"]
    member = f"principalSet://iam.googleapis.com/{full}/attribute.repository/ana/models"
    bind = ["service-accounts", "add-iam-policy-binding", email, "--role=roles/iam.workloadIdentityUser"]
    assert member in run(*bind, f"--member={member}")
    run("workload-identity-pools", "delete", name, place)
    assert ask(learner, "GET", f"{pools()}/{name}")["state"] == "DELETED"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attributeCondition": None}, CLAIMS),
        ({"attributeCondition": "true"}, CLAIMS),
        ({"attributeCondition": "'assertion.repository' != ''"}, CLAIMS),
        ({"attributeCondition": None, "oidc": {"issuerUri": "https://gitlab.com"}}, CLAIMS),
        ({"attributeCondition": "attribute.owner == 'ana'"}, "which the mapping does not set"),
        ({"attributeCondition": "(assertion.repository == 'a'"}, "Error compiling"),
        ({"attributeCondition": "assertion.repository == 'a"}, "Error compiling"),
        ({"attributeMapping": {"attribute.repository": "assertion.repository"}}, "google.subject"),
        (
            {"attributeMapping": {"google.subject": "assertion.sub", "attribute.Owner": "assertion.x"}},
            "attribute.Owner",
        ),
        ({"attributeMapping": {"google.subject": ""}}, "attribute mapping"),
        ({"attributeMapping": None}, "google.subject"),
        ({"attributeCondition": "assertion.repository == repo"}, "undeclared reference to 'repo'"),
        ({"attributeCondition": "assertion.repository.exists()"}, "first argument of exists"),
        ({"attributeMapping": {"google.subject": "google.subject"}}, "undeclared reference to 'google'"),
        ({"attributeMapping": {"google.subject": "assertion.sub.reverse()"}}, "undeclared reference to 'reverse'"),
        ({"oidc": {"issuerUri": "http://example.com"}}, "Invalid OIDC issuer URI. The scheme must be https."),
        ({"oidc": {"issuerUri": "issuer"}}, "Invalid OIDC issuer URI."),
        ({"oidc": {"issuerUri": GITHUB, "jwksJson": "keys"}}, "Input JWK is not in a valid json format."),
        ({"oidc": {"issuerUri": GITHUB, "jwksJson": '{"keys": []}'}}, "Input JWK is not in a valid json format."),
        (
            {"oidc": {"issuerUri": GITHUB, "jwksJson": '{"keys": [{"kty": "OKP", "kid": "1"}]}'}},
            "Only RSA, EC key types are supported.",
        ),
        (
            {
                "oidc": {
                    "issuerUri": GITHUB,
                    "jwksJson": '{"keys": [{"kty": "RSA", "kid": "1", "n": "!", "e": "AQAB"}]}',
                }
            },
            "Input jwks contains corrupted key material.",
        ),
        (
            {"oidc": {"issuerUri": GITHUB, "jwksJson": '{"keys": [{"kty": "RSA", "kid": "1", "d": "AQAB"}]}'}},
            "private keys",
        ),
        ({"oidc": None}, "oidc"),
        ({"displayName": "x" * 33}, "displayName"),
        ({"unknown": 1}, 'Unknown name "unknown"'),
    ],
)
def test_invalid_provider_is_refused(
    learner: AuthorizedSession, pool: str, changes: dict[str, Any], words: str
) -> None:
    url = f"https://iam.googleapis.com/v1/{pool}/providers?workloadIdentityPoolProviderId=actions"
    answer = learner.post(url, json=provider(**changes))
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]["message"]
    assert ask(learner, "GET", url.partition("?")[0]) == {}


def test_single_tenant_issuer_needs_no_condition(learner: AuthorizedSession, pool: str) -> None:
    url = f"https://iam.googleapis.com/v1/{pool}/providers"
    body = provider(attributeCondition=None, oidc={"issuerUri": "https://idp.example.com"})
    made = ask(learner, "POST", f"{url}?workloadIdentityPoolProviderId=mine", body)
    assert ask(learner, "GET", f"https://iam.googleapis.com/v1/{made['name']}")["done"]
    assert [one["name"] for one in ask(learner, "GET", url)["workloadIdentityPoolProviders"]] == [
        f"{pool}/providers/mine"
    ]


def test_deleted_pool_keeps_its_name_and_can_be_undeleted(learner: AuthorizedSession, pool: str) -> None:
    url, name = f"https://iam.googleapis.com/v1/{pool}", pool.rpartition("/")[2]
    email = account(learner)
    resource = f"https://iam.googleapis.com/v1/projects/{project()}/serviceAccounts/{email}"
    member = f"principal://iam.googleapis.com/{pool}/subject/repo:ana/Models:ref:refs/heads/main"
    binding = {"role": "roles/iam.workloadIdentityUser", "members": [member]}
    stored = ask(learner, "POST", f"{resource}:setIamPolicy", {"policy": {"bindings": [binding]}})
    assert stored["bindings"] == [binding]
    ask(learner, "DELETE", url)
    assert ask(learner, "GET", url)["state"] == "DELETED"
    assert pool not in str(ask(learner, "GET", pools()))
    assert pool in str(ask(learner, "GET", f"{pools()}?showDeleted=true"))
    again = ask(learner, "POST", f"{pools()}?workloadIdentityPoolId={name}", {}, status=409)
    assert again["error"]["message"] == "Requested entity already exists"
    refused = ask(learner, "POST", f"{resource}:setIamPolicy", {"policy": {"bindings": [binding]}}, status=400)
    assert refused["error"]["message"].startswith(f"Identity Pool does not exist ({pool}).")
    ask(learner, "POST", f"{url}:undelete", {})
    assert ask(learner, "GET", url)["state"] == "ACTIVE"


@pytest.mark.parametrize(
    "member",
    [
        "principalSet://iam.googleapis.com/my-pool/attribute.repository/ana/models",
        "principalSet://iam.googleapis.com/projects/my-project/locations/global/workloadIdentityPools/pool/*",
        "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/*",
        "principalset://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/*",
    ],
)
def test_invalid_principal_is_refused(learner: AuthorizedSession, member: str) -> None:
    resource = f"https://iam.googleapis.com/v1/projects/{project()}/serviceAccounts/{account(learner)}"
    policy = {"bindings": [{"role": "roles/iam.workloadIdentityUser", "members": [member]}]}
    refused = ask(learner, "POST", f"{resource}:setIamPolicy", {"policy": policy}, status=400)
    assert refused["error"]["message"] == (
        f"The member {member} is of an unknown type. Please set a valid type prefix for the member."
    )


@pytest.mark.parametrize("name", ["", "abc", "a" * 33, "Pool-1", "gcp-pool"])
def test_invalid_pool_id_is_refused(learner: AuthorizedSession, name: str) -> None:
    ask(learner, "POST", f"{pools()}?workloadIdentityPoolId={name}", {}, status=400)


@given(st.text(max_size=60))
def test_pool_of_accepts_only_the_two_forms(text: str) -> None:
    pool = "projects/12/locations/global/workloadIdentityPools/pool"
    assert pool_of(text) is None
    value = text.replace("\n", " ")
    assert pool_of(f"principal://iam.googleapis.com/{pool}/subject/{value}") == (pool if value else None)
    assert pool_of(f"principalSet://iam.googleapis.com/{pool}/group/{value}") == (pool if value else None)


def test_pool_and_provider_are_patched(learner: AuthorizedSession, pool: str) -> None:
    url = f"https://iam.googleapis.com/v1/{pool}"
    changed = ask(
        learner, "PATCH", f"{url}?updateMask=description", {"description": "For CI", "displayName": "Not this"}
    )
    assert done(learner, "iam.googleapis.com", changed)["response"]["description"] == "For CI"
    assert ask(learner, "GET", url)["displayName"] == "A test's"
    begun = ask(learner, "POST", f"{url}/providers?workloadIdentityPoolProviderId=mine", provider())
    made = done(learner, "iam.googleapis.com", begun)["response"]
    one = f"{url}/providers/mine"
    mask = "oidc.issuerUri,attributeCondition"
    body = {"oidc": {"issuerUri": "https://idp.example.com"}}
    ask(learner, "PATCH", f"{one}?updateMask={mask}", body)
    kept = {key: value for key, value in made.items() if key not in ("@type", "attributeCondition")}
    assert ask(learner, "GET", one) == {**kept, **body}
    shared = ask(learner, "PATCH", f"{one}?updateMask=oidc.issuerUri", {"oidc": {"issuerUri": GITHUB}}, status=400)
    assert shared["error"]["message"] == CLAIMS
    ask(learner, "PATCH", f"{one}?updateMask=name", {"name": "other"}, status=400)
    ask(learner, "DELETE", url)
    ask(learner, "PATCH", f"{url}?updateMask=description", {"description": "Gone"}, status=400)
