"""Token exchanges and their expected results.

The source of each result: `page` is Google's page on troubleshooting or the API's reference, `measured` third-party
measurements against the real service (2026-09-28), `auth N` an issue of google-github-actions/auth, `quoted` a public
repository that quotes the response, `inferred` none of these.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt

from tests.sandbox.iam import federation_keys as idp

STALE = r"ID Token issued at \d+ is stale to sign-in\."
REJECTED = "The given credential is rejected by the attribute condition."
NO_SUBJECT = "Could not obtain a value for google.subject from the given credential."
NO_ISSUER = "Error connecting to the given credential's issuer."
NO_SIGNATURE = "Unable to verify the ID Token signature."
NO_TARGET = (
    'The target service indicated by the "audience" parameters is invalid. This might either be because the pool or '
    "provider is disabled or deleted or because it doesn't exist."
)
NO_AUDIENCE = (
    'Invalid value for "audience". This value should be the full resource name of the Identity Provider. See '
    "https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token for the list of possible formats."
)
LONG = "x" * 128
Claims = dict[str, Any]


def in_seconds(**moments: int) -> Callable[[], Claims]:
    """Return a function that returns claims with times relative to now."""
    return lambda: {name: int(time.time()) + seconds for name, seconds in moments.items()}


@dataclass(frozen=True)
class Case:
    """One exchange.

    Attributes:
        source: the source of the expected result.
        error: the expected error; empty if the exchange succeeds.
        description: the error's description, or its beginning.
        claims: changes to the token's claims, or a function that returns them; None removes a claim.
        key: the signing key.
        header: changes to the token's header.
        token: returns another token, given the signed one.
        provider: changes to the provider.
        form: changes to the request.
        sets: the identity's sets, without `principalSet://…/`.
        subject: the identity's subject, without `principal://…/subject/`.
    """

    source: str
    error: str = ""
    description: str = ""
    claims: Claims | Callable[[], Claims] = field(default_factory=dict)
    key: str = "rsa"
    header: Claims = field(default_factory=dict)
    token: Callable[[str], str] = lambda token: token
    provider: Claims = field(default_factory=dict)
    form: Claims = field(default_factory=dict)
    sets: tuple[str, ...] = ("*", "attribute.repository/ana/models")
    subject: str = "repo:ana/models:ref:refs/heads/main"


def mapping(**changes: str) -> Claims:
    """Return an attribute mapping: `subject=` and `groups=` are `google.…`, other arguments `attribute.…`."""
    named = {
        f"{'google' if key in ('subject', 'groups') else 'attribute'}.{key}": text for key, text in changes.items()
    }
    return {"attributeMapping": {"google.subject": "assertion.sub", **named}}


def condition(text: str, **more: Any) -> Claims:
    return {"attributeCondition": text, **more}


def segments(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    return lambda token: ".".join(change(token.split(".")))


def resigned(algorithm: str) -> Callable[[str], str]:
    """Return a function that signs a token's claims with another algorithm: `none` or a symmetric one."""

    def change(token: str) -> str:
        body = jwt.decode(token, options={"verify_signature": False})
        secret = "" if algorithm == "none" else "n" * 64
        return jwt.encode(body, secret, algorithm=algorithm, headers={"kid": "rsa"})

    return change


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def changed(segment: str, **claims: Any) -> str:
    body = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return encoded(body | claims)


CASES: dict[str, Case] = {
    # Accepted
    "a good token": Case("page"),
    "an id_token by its type": Case("page", form={"subject_token_type": f"{idp.TYPE}:id_token"}),
    "ES256": Case("measured", key="ec"),
    "the audience with https": Case("page", claims={"aud": "https:{audience}"}),
    "one audience of several": Case("page", claims={"aud": ["other", "{audience}"]}),
    "an audience that the provider allows": Case(
        "page", claims={"aud": "models"}, provider={"oidc": {"allowedAudiences": ["models"]}}
    ),
    "the second of two keys": Case("measured", key="second", provider={"oidc": {"jwksJson": ("rsa", "second")}}),
    "issued a minute ahead": Case("measured", claims=in_seconds(iat=30)),
    "expired for less than a minute": Case("measured", claims=in_seconds(iat=-600, exp=-15)),
    "issued two hours ago, not expired": Case("measured", claims=in_seconds(iat=-7200, exp=60)),
    "a lifetime of eleven years": Case("measured", claims=in_seconds(exp=11 * 365 * 86400)),
    "not yet valid by nbf": Case("inferred", claims=in_seconds(nbf=600)),
    "an issuer with a slash at its end": Case("measured", claims={"iss": f"{idp.ISSUER}/"}),
    "a condition that holds": Case("page", provider=condition("assertion.repository == 'ana/models'")),
    "a condition on a mapped attribute": Case(
        "page", provider=condition("attribute.repository.startsWith('ana/') && google.subject != ''")
    ),
    "a condition on a group": Case(
        "page",
        provider=condition("'ml' in google.groups", **mapping(groups="assertion.groups")),
        sets=("*", "group/ml", "group/release"),
    ),
    "a condition with has()": Case("page", provider=condition("!has(assertion.environment) || false")),
    "a condition in lower case": Case(
        "page",
        claims={"repository": "Ana/Models"},
        provider=condition("assertion.repository.lowerAscii() == 'ana/models'"),
        sets=("*", "attribute.repository/Ana/Models"),
    ),
    "a condition whose || ignores an error": Case(
        "page", provider=condition("assertion.ref == 'refs/heads/main' || assertion.environment == 'prod'")
    ),
    "a condition on one of several": Case("page", provider=condition("assertion.actor in ['ana', 'ben']")),
    "a subject by split": Case(
        "auth 423", provider=mapping(subject="assertion.sub.split(':')[1]"), subject="ana/models", sets=("*",)
    ),
    "a subject by extract": Case(
        "page", provider=mapping(subject="assertion.sub.extract('repo:{name}:ref')"), subject="ana/models", sets=("*",)
    ),
    "a subject by join": Case(
        "page",
        provider=mapping(subject="[assertion.repository_owner, assertion.ref].join('@')"),
        subject="ana@refs/heads/main",
        sets=("*",),
    ),
    "a subject by choice": Case(
        "page", provider=mapping(subject="assertion.admin ? 'admin' : 'user'"), subject="admin", sets=("*",)
    ),
    "an attribute by concatenation": Case(
        "page",
        provider=mapping(where="assertion.repository + '/' + assertion.ref"),
        sets=("*", "attribute.where/ana/models/refs/heads/main"),
    ),
    "a custom attribute without its claim": Case(
        "inferred", provider=mapping(environment="assertion.environment"), sets=("*",)
    ),
    "a subject of 127 bytes": Case("page", claims={"sub": "x" * 127}, subject="x" * 127),
    "a line break in an attribute": Case(
        "inferred",
        claims={"repository": "ana/models\nprincipalSet://iam.googleapis.com/x"},
        sets=("*",),
    ),
    # The request
    "no grant type": Case("inferred", "invalid_request", "Invalid value of grant_type", form={"grant_type": None}),
    "another grant type": Case(
        "inferred", "invalid_request", "Invalid value of grant_type", form={"grant_type": "authorization_code"}
    ),
    "another type wanted": Case(
        "quoted",
        "invalid_request",
        "Invalid value of requested_token_type in request.",
        form={"requested_token_type": f"{idp.TYPE}:id_token"},
    ),
    "another type given": Case(
        "inferred", "invalid_request", "Invalid value of subject_token_type", form={"subject_token_type": "jwt"}
    ),
    "no scope": Case("quoted", "invalid_request", "Scope(s) must be provided.", form={"scope": None}),
    "no token": Case("inferred", "invalid_request", "Invalid value of subject_token", form={"subject_token": None}),
    "no audience": Case("auth 211", "invalid_request", NO_AUDIENCE, form={"audience": None}),
    "the pool for an audience": Case(
        "auth 60", "invalid_request", NO_AUDIENCE, form={"audience": "//iam.googleapis.com/{pool}"}
    ),
    "an audience with https": Case("quoted", "invalid_request", NO_AUDIENCE, form={"audience": "https:{audience}"}),
    "an audience without a host": Case(
        "auth 211", "invalid_request", NO_AUDIENCE, form={"audience": "{pool}/providers/x"}
    ),
    "an attribute for a provider": Case(
        "auth 546",
        "invalid_request",
        NO_AUDIENCE,
        form={"audience": "//iam.googleapis.com/{pool}/attribute.repository/ana/models"},
    ),
    "a missing provider": Case(
        "auth 370", "invalid_target", NO_TARGET, form={"audience": "//iam.googleapis.com/{pool}/providers/other"}
    ),
    "a provider in another pool": Case(
        "auth 370", "invalid_target", NO_TARGET, form={"audience": "//iam.googleapis.com/{pool}-2/providers/idp"}
    ),
    "the project by its id": Case(
        "auth 202",
        "invalid_target",
        NO_TARGET,
        form={"audience": "//iam.googleapis.com/projects/an-id/locations/global/workloadIdentityPools/p/providers/i"},
    ),
    "a provider that is disabled": Case("measured", "invalid_target", NO_TARGET, provider={"disabled": True}),
    # The token
    "no token at all": Case("quoted", "invalid_grant", "Unable to parse the ID Token.", token=lambda _: "token"),
    "two segments": Case(
        "quoted", "invalid_grant", "Unable to parse the ID Token.", token=segments(lambda parts: parts[:2])
    ),
    "claims that are a list": Case(
        "quoted",
        "invalid_grant",
        "Unable to parse the ID Token.",
        token=segments(lambda parts: [parts[0], encoded([]), parts[2]]),
    ),
    "a forged issuer": Case(
        "quoted",
        "invalid_grant",
        f"The issuer in ID Token https://evil.example.com does not match the expected one in config: {idp.ISSUER}.",
        claims={"iss": "https://evil.example.com"},
    ),
    "GitHub's issuer at another provider": Case(
        "quoted",
        "invalid_grant",
        "The issuer in ID Token https://token.actions.githubusercontent.com does not match",
        claims={"iss": "https://token.actions.githubusercontent.com"},
    ),
    "no issuer": Case("measured", "invalid_grant", "The issuer in ID Token null does not match", claims={"iss": None}),
    "another audience": Case(
        "measured",
        "invalid_grant",
        "The audience in ID Token [other] does not match the expected audience.",
        claims={"aud": "other"},
    ),
    "two other audiences": Case(
        "measured",
        "invalid_grant",
        "The audience in ID Token [a, b] does not match the expected audience.",
        claims={"aud": ["a", "b"]},
    ),
    "no audience in the token": Case(
        "measured",
        "invalid_grant",
        "The audience in ID Token [] does not match the expected audience.",
        claims={"aud": None},
    ),
    "the provider's name where other audiences are allowed": Case(
        "measured",
        "invalid_grant",
        "The audience in ID Token [//iam.googleapis.com/",
        provider={"oidc": {"allowedAudiences": ["models"]}},
    ),
    "an unknown key": Case("measured", "invalid_grant", NO_ISSUER, key="other"),
    "no key's id": Case("inferred", "invalid_grant", NO_ISSUER, header={"kid": None}),
    "EC where the keys are RSA": Case(
        "measured", "invalid_grant", NO_ISSUER, key="ec", provider={"oidc": {"jwksJson": ("rsa",)}}
    ),
    "another key under the id of this one": Case(
        "measured", "invalid_grant", NO_SIGNATURE, key="other", header={"kid": "rsa"}
    ),
    "claims changed after signing": Case(
        "measured",
        "invalid_grant",
        NO_SIGNATURE,
        token=segments(lambda parts: [parts[0], changed(parts[1], repository="ana/other"), parts[2]]),
    ),
    "no signature": Case("inferred", "invalid_grant", NO_SIGNATURE, token=resigned("none")),
    "a symmetric algorithm": Case("inferred", "invalid_grant", NO_SIGNATURE, token=resigned("HS256")),
    "an issuer without uploaded keys": Case("page", "invalid_grant", NO_ISSUER, provider={"oidc": {"jwksJson": None}}),
    "expired": Case("measured", "invalid_grant", STALE, claims=in_seconds(iat=-600, exp=-70)),
    "issued in two minutes": Case("measured", "invalid_grant", STALE, claims=in_seconds(iat=119)),
    "no time of issue": Case(
        "measured", "invalid_grant", "ID Token issued at null is stale to sign-in.", claims={"iat": None}
    ),
    "no expiry": Case("measured", "invalid_grant", STALE, claims={"exp": None}),
    "an expiry that is a string": Case("inferred", "invalid_grant", STALE, claims={"exp": "tomorrow"}),
    # The identity
    "another repository": Case(
        "auth 77",
        "unauthorized_client",
        REJECTED,
        claims={"repository": "ana/other"},
        provider=condition("assertion.repository == 'ana/models'"),
    ),
    "a repository that begins with the name": Case(
        "auth 77",
        "unauthorized_client",
        REJECTED,
        claims={"repository": "ana/models-fork"},
        provider=condition("assertion.repository == 'ana/models'"),
    ),
    "another owner": Case(
        "quoted",
        "unauthorized_client",
        REJECTED,
        claims={"repository_owner": "mallory", "repository": "mallory/models"},
        provider=condition("assertion.repository_owner == 'ana'"),
    ),
    "a pull request where the branch is required": Case(
        "quoted",
        "unauthorized_client",
        REJECTED,
        claims={"event_name": "pull_request", "ref": "refs/pull/1/merge"},
        provider=condition("assertion.ref == 'refs/heads/main'"),
    ),
    "a condition on a claim that is missing": Case(
        "measured", "unauthorized_client", REJECTED, provider=condition("assertion.environment == 'prod'")
    ),
    "a condition of two types": Case(
        "inferred", "unauthorized_client", REJECTED, provider=condition("assertion.repository > 1")
    ),
    "a condition that is a string": Case(
        "inferred", "unauthorized_client", REJECTED, provider=condition("assertion.repository")
    ),
    "a condition with a pattern that RE2 refuses": Case(
        "inferred", "unauthorized_client", REJECTED, provider=condition("assertion.ref.matches('(?=main)')")
    ),
    "an index out of range": Case(
        "inferred", "unauthorized_client", REJECTED, provider=condition("assertion.sub.split(':')[9] == 'x'")
    ),
    "no subject": Case("quoted", "unauthorized_client", NO_SUBJECT, claims={"sub": None}),
    "a subject's claim that is missing": Case(
        "quoted", "unauthorized_client", NO_SUBJECT, provider=mapping(subject="assertion.email")
    ),
    "a subject that is empty": Case(
        "inferred", "unauthorized_client", NO_SUBJECT, provider=mapping(subject="assertion.sub.extract('user:{x}')")
    ),
    "a subject that is a condition": Case(
        "auth 378",
        "unauthorized_client",
        "The mapped attribute 'google.subject' must be of type STRING.",
        provider=mapping(subject="assertion.sub == 'repo'"),
    ),
    "an attribute that is not a string": Case(
        "inferred",
        "unauthorized_client",
        "The mapped attribute 'attribute.admin' must be of type STRING.",
        provider=mapping(admin="assertion.admin"),
    ),
    "groups that are a string": Case(
        "inferred",
        "unauthorized_client",
        "The mapped attribute 'google.groups' must be of type LIST",
        provider=mapping(groups="assertion.actor"),
    ),
    "a subject of 128 bytes": Case(
        "page",
        "invalid_request",
        "The size of mapped attribute google.subject exceeds the 127 bytes limit. Either modify your attribute mapping "
        "or the incoming assertion to produce a mapped attribute that is less than 127 bytes.",
        claims={"sub": LONG},
    ),
    "a subject of 64 letters of two bytes": Case(
        "page", "invalid_request", "The size of mapped attribute google.subject exceeds", claims={"sub": "é" * 64}
    ),
    "more than 8 KB of attributes": Case(
        "inferred", "invalid_request", "The size of all mapped attributes exceeds", claims={"repository": "x" * 8300}
    ),
    "a line break in the subject": Case(
        "inferred",
        "unauthorized_client",
        NO_SUBJECT,
        claims={"sub": "x\nprincipalSet://iam.googleapis.com/{pool}/attribute.repository/ana/models"},
    ),
}
