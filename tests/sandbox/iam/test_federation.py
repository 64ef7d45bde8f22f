"""Exchange tokens of an identity provider, for every case of `federation_cases`.

`test_federated_clients` proves the same exchange with real clients.
"""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.sandbox.iam import federation_keys as idp
from tests.sandbox.iam.federation_cases import CASES, STALE, Case
from tests.sandbox.in_process import Learner

STS = "https://sts.googleapis.com/v1/token"
ANONYMOUS = {"Authorization": ""}


@pytest.fixture
def pool(learner: Learner) -> str:
    """Create a pool, and return its resource name."""
    learner.enable("iam.googleapis.com", "cloudresourcemanager.googleapis.com")
    name = f"pool-{secrets.token_hex(4)}"
    base = "https://iam.googleapis.com/v1/projects/{project}/locations/global/workloadIdentityPools"
    begun = learner.ask("POST", f"{base}?workloadIdentityPoolId={name}", {})
    found: str = learner.ask("GET", f"https://iam.googleapis.com/v1/{begun['name']}")["response"]["name"]
    return found


def filled(value: Any, words: dict[str, str]) -> Any:
    """Return a value, or each value of a list, with the given words for `{word}`."""
    if isinstance(value, list):
        return [filled(one, words) for one in value]
    if isinstance(value, str):
        for word, meant in words.items():
            value = value.replace(f"{{{word}}}", meant)
    return value


def test_there_are_sixty_cases_with_a_source_each() -> None:
    assert len(CASES) >= 60
    assert all(
        case.source in ("page", "measured", "quoted", "inferred") or case.source.startswith("auth ")
        for case in CASES.values()
    )
    assert len([case for case in CASES.values() if case.source == "inferred"]) < len(CASES) // 3


@pytest.mark.parametrize("name", CASES)
def test_exchange_returns_the_expected_identity_or_error(learner: Learner, pool: str, name: str) -> None:
    case = CASES[name]
    provider = f"{pool}/providers/idp-of-a-test"
    changes = dict(case.provider)
    oidc = {"issuerUri": idp.ISSUER, "jwksJson": ("rsa", "ec")} | changes.pop("oidc", {})
    if keys := oidc.pop("jwksJson"):
        oidc["jwksJson"] = idp.jwks(*keys)
    body = {
        "attributeMapping": {"google.subject": "assertion.sub", "attribute.repository": "assertion.repository"},
        "oidc": oidc,
    }
    url = f"https://iam.googleapis.com/v1/{pool}/providers?workloadIdentityPoolProviderId=idp-of-a-test"
    learner.ask("POST", url, body | changes)
    audience = f"//iam.googleapis.com/{provider}"
    words = {"audience": audience, "pool": pool}
    given = case.claims() if callable(case.claims) else case.claims
    claims = idp.claims(audience, **{key: filled(value, words) for key, value in given.items()})
    token = case.token(idp.token(claims, case.key, **case.header))
    form = idp.exchange(audience, token, **{key: filled(value, words) for key, value in case.form.items()})
    answer = learner.session.post(STS, data=form, headers=ANONYMOUS)
    if case.error:
        assert answer.status_code == 400, answer.text
        body = answer.json()
        assert (body["error"], list(body)) == (case.error, ["error", "error_description"])
        if case.description == STALE:
            assert body["error_description"] == f"ID Token issued at {claims['iat']} is stale to sign-in."
        else:
            assert body["error_description"].startswith(case.description)
        return
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert body["issued_token_type"] == f"{idp.TYPE}:access_token"
    assert 0 < body["expires_in"] <= 3600
    about = introspected(learner, body["access_token"])
    assert about["username"] == f"principal://iam.googleapis.com/{pool}/subject/{case.subject}"
    assert reached(learner, pool, body["access_token"], case) == set(case.sets)


def introspected(learner: Learner, token: str) -> dict[str, Any]:
    """Return the description of a token, requested with gcloud's client id."""
    answer = learner.session.post(
        "https://sts.googleapis.com/v1/introspect",
        data={"token": token, "token_type_hint": f"{idp.TYPE}:access_token"},
        auth=("32555940559.apps.googleusercontent.com", "notasecret"),
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def reached(learner: Learner, pool: str, token: str, case: Case) -> set[str]:
    """Return the sets by which a policy grants the identity access, of the case's sets and two others."""
    found = set()
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{learner.project}"
    before = learner.ask("POST", f"{url}:getIamPolicy", {})
    for name in {*case.sets, "attribute.repository/ana/other", "group/nobody"}:
        member = f"principalSet://iam.googleapis.com/{pool}/{name}"
        binding = {"role": "roles/viewer", "members": [member]}
        learner.ask("POST", f"{url}:setIamPolicy", {"policy": {"bindings": [*before["bindings"], binding]}})
        if learner.session.get(url, headers={"Authorization": f"Bearer {token}"}).is_success:
            found.add(name)
    learner.ask("POST", f"{url}:setIamPolicy", {"policy": {"bindings": before["bindings"]}})
    return found


def test_exchange_accepts_json_in_camel_case(learner: Learner, pool: str) -> None:
    """google-github-actions/auth sends JSON with camelCase names."""
    url = f"https://iam.googleapis.com/v1/{pool}/providers?workloadIdentityPoolProviderId=json"
    body = {
        "attributeMapping": {"google.subject": "assertion.sub"},
        "oidc": {"issuerUri": idp.ISSUER, "jwksJson": idp.jwks("rsa")},
    }
    learner.ask("POST", url, body)
    audience = f"//iam.googleapis.com/{pool}/providers/json"
    form = idp.exchange(audience, idp.token(idp.claims(audience)))
    first = {key: "".join(part.title() if place else part for place, part in enumerate(key.split("_"))) for key in form}
    answer = learner.session.post(STS, json={first[key]: value for key, value in form.items()}, headers=ANONYMOUS)
    assert answer.is_success, answer.text
    assert introspected(learner, answer.json()["access_token"])["active"] is True
    assert introspected(learner, "ya29.nobody") == {"active": False}
