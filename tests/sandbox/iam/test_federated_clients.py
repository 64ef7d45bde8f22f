"""Sign in with a token of an identity provider instead of a key: google-auth, gcloud, curl and plain HTTP."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth.exceptions
import pytest
import requests
from google.auth import identity_pool
from google.auth.transport.requests import AuthorizedSession, Request

from cli.world.starter import World
from helpers import names, projects, registry, repositories
from helpers.target import Target
from tests.sandbox.conftest import SCOPES, account, ask, done, grant, learner_with, project, projects_url
from tests.sandbox.iam import federation_keys as idp

IAM = "https://iam.googleapis.com/v1"
SUBJECT = "repo:ana/models:ref:refs/heads/main"


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """Return the learner's session, in a project with the APIs enabled."""
    with learner_with("iam", "iamcredentials", "cloudresourcemanager", "sts", "artifactregistry") as session:
        yield session


@pytest.fixture
def provider(learner: AuthorizedSession) -> str:
    """Create a provider that accepts one repository, and return its resource name."""
    base = f"{IAM}/projects/{project()}/locations/global/workloadIdentityPools"
    begun = ask(learner, "POST", f"{base}?workloadIdentityPoolId=pool-{secrets.token_hex(4)}", {})
    pool = done(learner, "iam.googleapis.com", begun)["response"]["name"]
    body = {
        "attributeMapping": {"google.subject": "assertion.sub", "attribute.repository": "assertion.repository"},
        "attributeCondition": "assertion.repository == 'ana/models'",
        "oidc": {"issuerUri": idp.ISSUER, "jwksJson": idp.jwks("rsa")},
    }
    ask(learner, "POST", f"{IAM}/{pool}/providers?workloadIdentityPoolProviderId=own-idp", body)
    return f"{pool}/providers/own-idp"


def pool_of(provider: str) -> str:
    return provider.partition("/providers/")[0]


def everybody_of(provider: str, repository: str = "ana/models") -> str:
    return f"principalSet://iam.googleapis.com/{pool_of(provider)}/attribute.repository/{repository}"


def config(folder: Path, provider: str, email: str = "", **claims: Any) -> Path:
    """Write the file of `gcloud iam workload-identity-pools create-cred-config`, and the token that it refers to."""
    audience = f"//iam.googleapis.com/{provider}"
    token = folder / "token"
    token.write_text(idp.token(idp.claims(audience, **claims)))
    body: dict[str, Any] = {
        "universe_domain": "googleapis.com",
        "type": "external_account",
        "audience": audience,
        "subject_token_type": f"{idp.TYPE}:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(token), "format": {"type": "text"}},
    }
    if email:
        body["service_account_impersonation_url"] = (
            f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
        )
    else:
        body["token_info_url"] = "https://sts.googleapis.com/v1/introspect"
    path = folder / "credentials.json"
    path.write_text(json.dumps(body))
    return path


def federated(provider: str, **claims: Any) -> str:
    """Return a federated access token."""
    audience = f"//iam.googleapis.com/{provider}"
    form = idp.exchange(audience, idp.token(idp.claims(audience, **claims)))
    answer = requests.post("https://sts.googleapis.com/v1/token", data=form, timeout=30)
    assert answer.ok, answer.text
    found: str = answer.json()["access_token"]
    return found


def status(token: str, url: str) -> int:
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code


def token_info(token: str) -> requests.Response:
    return requests.get("https://oauth2.googleapis.com/tokeninfo", params={"access_token": token}, timeout=30)


def test_google_auth_impersonates_an_account_with_the_role(
    learner: AuthorizedSession, provider: str, tmp_path: Path
) -> None:
    email = account(learner, "roles/viewer")
    credentials = identity_pool.Credentials.from_file(str(config(tmp_path, provider, email)), scopes=SCOPES)
    with pytest.raises(google.auth.exceptions.RefreshError) as refused:
        credentials.refresh(Request())
    error = json.loads(refused.value.args[1])["error"]
    assert (
        error["message"] == "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
    )
    assert error["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "IAM_PERMISSION_DENIED",
            "domain": "iam.googleapis.com",
            "metadata": {"permission": "iam.serviceAccounts.getAccessToken"},
        }
    ]
    resource = f"{IAM}/projects/{project()}/serviceAccounts/{email}"
    grant(learner, resource, "roles/iam.workloadIdentityUser", everybody_of(provider, "ana/other"))
    with pytest.raises(google.auth.exceptions.RefreshError):
        credentials.refresh(Request())
    grant(learner, resource, "roles/iam.workloadIdentityUser", everybody_of(provider))
    credentials.refresh(Request())
    with AuthorizedSession(credentials) as session:
        assert session.get(projects_url()).json()["projectId"] == project()
    assert token_info(credentials.token).json()["email"] == email


def test_google_auth_uses_the_identity_without_an_account(
    learner: AuthorizedSession, provider: str, tmp_path: Path
) -> None:
    credentials = identity_pool.Credentials.from_file(str(config(tmp_path, provider)), scopes=SCOPES)
    with AuthorizedSession(credentials) as session:
        assert session.get(projects_url()).status_code == 403
        member = f"principal://iam.googleapis.com/{pool_of(provider)}/subject/{SUBJECT}"
        grant(learner, projects_url(), "roles/viewer", member)
        assert session.get(projects_url()).json()["projectId"] == project()
    info = token_info(credentials.token)
    assert (info.status_code, info.json()["error"]) == (400, "invalid_token")


def test_google_auth_reports_a_rejected_repository(in_world: object, provider: str, tmp_path: Path) -> None:
    path = config(tmp_path, provider, repository="mallory/models")
    credentials = identity_pool.Credentials.from_file(str(path), scopes=SCOPES)
    with pytest.raises(google.auth.exceptions.OAuthError, match="rejected by the attribute condition"):
        credentials.refresh(Request())


@pytest.mark.gcloud
@pytest.mark.parametrize("impersonates", [True, False], ids=["an account", "nobody"])
def test_gcloud_signs_in_with_the_file(
    learner: AuthorizedSession,
    provider: str,
    tmp_path: Path,
    gcloud: Path,
    environment: dict[str, str],
    impersonates: bool,
) -> None:
    email = account(learner, "roles/viewer") if impersonates else ""
    if email:
        resource = f"{IAM}/projects/{project()}/serviceAccounts/{email}"
        grant(learner, resource, "roles/iam.workloadIdentityUser", everybody_of(provider))
    else:
        grant(learner, projects_url(), "roles/viewer", everybody_of(provider))
    kept = {name: value for name, value in environment.items() if "CREDENTIAL" not in name}
    kept["CLOUDSDK_CONFIG"] = str(tmp_path / "gcloud")

    def run(*words: str) -> str:
        done = subprocess.run([gcloud, *words, "--quiet"], env=kept, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    name = email or f"principal://iam.googleapis.com/{pool_of(provider)}/subject/{SUBJECT}"
    assert f"[{name}]" in run("auth", "login", f"--cred-file={config(tmp_path, provider, email)}")
    assert project() in run("projects", "describe", project(), "--format=value(projectId)")
    if impersonates:
        assert name in run("auth", "list", "--format=value(account)")
        assert run("auth", "print-access-token").startswith("ya29.")


@pytest.mark.gcloud
def test_gcloud_uploads_an_issuers_keys(
    learner: AuthorizedSession, provider: str, tmp_path: Path, gcloud: Path, environment: dict[str, str]
) -> None:
    """After the upload, tokens of the old key are refused and those of the new key accepted."""
    keys = tmp_path / "keys.json"
    keys.write_text(idp.jwks("second"))
    pool, _, name = provider.partition("/providers/")
    words = ["iam", "workload-identity-pools", "providers", "update-oidc", name, "--location=global"]
    words += [f"--workload-identity-pool={pool.rpartition('/')[2]}", f"--jwk-json-path={keys}", "--quiet"]
    done = subprocess.run([gcloud, *words], env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    audience = f"//iam.googleapis.com/{provider}"
    for key, expected in (("second", 200), ("rsa", 400)):
        form = idp.exchange(audience, idp.token(idp.claims(audience), key))
        assert requests.post("https://sts.googleapis.com/v1/token", data=form, timeout=30).status_code == expected


def test_curl_exchanges_a_token(learner: AuthorizedSession, provider: str, tmp_path: Path) -> None:
    audience = f"//iam.googleapis.com/{provider}"
    subject = tmp_path / "subject"
    subject.write_text(idp.token(idp.claims(audience)))
    form = idp.exchange(audience, "", subject_token=None)
    words = [word for key, value in form.items() for word in ("--data-urlencode", f"{key}={value}")]
    words += ["--data-urlencode", f"subject_token@{subject}", "https://sts.googleapis.com/v1/token"]
    done = subprocess.run(["curl", "--silent", "--show-error", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["token_type"] == "Bearer"


def test_registry_accepts_a_federated_token(
    learner: AuthorizedSession, provider: str, world: World, in_world: Target
) -> None:
    """The identity itself has a role on the repository; no service account is involved."""
    projects.enable(names.Project(in_world.project_id), projects.ARTIFACT_REGISTRY)
    repository = names.Repository(in_world.location, f"r-{secrets.token_hex(4)}")
    repositories.create(repository, labels=in_world.labels)
    image = repository.image("hello")
    registry.push(image.tag("1"), [{"hello.txt": "hello"}])
    login = ("oauth2accesstoken", federated(provider))
    with requests.Session() as session:
        session.trust_env = False
        wanted = {"service": "localhost", "scope": f"repository:{image}:pull"}

        def pull() -> int:
            answer = session.get(f"{world.url}/v2/token", auth=login, params=wanted, timeout=30)
            if not answer.ok:
                return answer.status_code
            headers = {"Authorization": f"Bearer {answer.json()['token']}"}
            return session.get(f"{world.url}/v2/{image}/manifests/1", headers=headers, timeout=30).status_code

        assert pull() == 403
        url = f"https://artifactregistry.googleapis.com/v1/{repository.resource}"
        binding = {"role": "roles/artifactregistry.reader", "members": [everybody_of(provider)]}
        ask(learner, "POST", f"{url}:setIamPolicy", {"policy": {"bindings": [binding]}})
        assert pull() == 200
        ask(learner, "DELETE", f"{IAM}/{pool_of(provider)}")
        assert pull() in (401, 403)
    repositories.delete(repository)


def test_pool_identity_is_not_an_authenticated_user(
    learner: AuthorizedSession, provider: str, in_world: Target
) -> None:
    """`allAuthenticatedUsers` includes only Google accounts."""
    token = federated(provider)
    repository = names.Repository(in_world.location, f"r-{secrets.token_hex(4)}")
    repositories.create(repository, labels=in_world.labels)
    url = f"https://artifactregistry.googleapis.com/v1/{repository.resource}"
    for member, expected in (("allAuthenticatedUsers", 403), ("allUsers", 200)):
        binding = {"role": "roles/artifactregistry.reader", "members": [member]}
        ask(learner, "POST", f"{url}:setIamPolicy", {"policy": {"bindings": [binding]}})
        assert status(token, url) == expected
    repositories.delete(repository)


def test_token_is_valid_while_its_pool_is_active(learner: AuthorizedSession, provider: str) -> None:
    """Tokens stay valid after their provider is deleted, but not while their pool is disabled or deleted."""
    grant(learner, projects_url(), "roles/viewer", everybody_of(provider))
    token, pool = federated(provider), pool_of(provider)
    ask(learner, "PATCH", f"{IAM}/{provider}?updateMask=disabled", {"disabled": True})
    audience = f"//iam.googleapis.com/{provider}"
    form = idp.exchange(audience, idp.token(idp.claims(audience)))
    refused = requests.post("https://sts.googleapis.com/v1/token", data=form, timeout=30)
    assert refused.json()["error"] == "invalid_target"
    ask(learner, "DELETE", f"{IAM}/{provider}")
    assert status(token, projects_url()) == 200
    ask(learner, "PATCH", f"{IAM}/{pool}?updateMask=disabled", {"disabled": True})
    assert status(token, projects_url()) == 401
    ask(learner, "PATCH", f"{IAM}/{pool}?updateMask=disabled", {"disabled": False})
    assert status(token, projects_url()) == 200
    ask(learner, "DELETE", f"{IAM}/{pool}")
    assert status(token, projects_url()) == 401
    ask(learner, "POST", f"{IAM}/{pool}:undelete", {})
    assert status(token, projects_url()) == 200
    binding = everybody_of(provider)
    policy = ask(learner, "POST", f"{projects_url()}:getIamPolicy", {})
    for entry in policy["bindings"]:
        entry["members"] = [member for member in entry["members"] if member != binding]
    policy["bindings"] = [entry for entry in policy["bindings"] if entry["members"]]
    ask(learner, "POST", f"{projects_url()}:setIamPolicy", {"policy": policy})
    assert status(token, projects_url()) == 403


@pytest.mark.parametrize(
    ("lifetime", "words"),
    [
        ("0s", "Lifetime of access token must be larger then zero."),
        ("3601s", "can not have lifetimes of more than 1 hour. Use the Org Policy Constraint"),
    ],
)
def test_impersonation_lifetime_out_of_range_is_refused(
    learner: AuthorizedSession, provider: str, lifetime: str, words: str
) -> None:
    email = account(learner)
    resource = f"{IAM}/projects/{project()}/serviceAccounts/{email}"
    grant(learner, resource, "roles/iam.workloadIdentityUser", everybody_of(provider))
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    headers = {"Authorization": f"Bearer {federated(provider)}"}
    answer = requests.post(url, json={"lifetime": lifetime, "scope": SCOPES}, headers=headers, timeout=30)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_credential_file_contains_no_secret(provider: str, tmp_path: Path) -> None:
    text = config(tmp_path, provider).read_text()
    assert "private_key" not in text
    assert os.environ["PROJECT_NUMBER"] in text
