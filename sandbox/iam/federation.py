"""Verify OIDC tokens and map them to identities, as Google's Security Token Service does.

The result depends only on the provider, its issuer's keys and the time. Sources:
https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token (what a token needs),
https://cloud.google.com/iam/docs/troubleshooting-workload-identity-federation (issuer, size of the subject),
third-party measurements against the real service (2026-09-28: 45 tokens, the clocks' leeway, which key, each missing
claim) and google-github-actions/auth's issues 202, 211, 378 and 423. The order in which several faults of one token
are reported is unverified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from sandbox.iam import issuers

Json = Mapping[str, Any]

LEEWAY = 60  # seconds that the issuer's clock may be before or behind Google's; measured
_MOST_SECONDS = 3600
_SUBJECT_BYTES = 127
_ALL_BYTES = 8 << 10
MAPPING_VARIABLES = frozenset({"assertion"})
CONDITION_VARIABLES = frozenset({"assertion", "google", "attribute"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNKNOWN_ISSUER = "Error connecting to the given credential's issuer."


class Refused(Exception):
    """The token exchange is refused, in the form of RFC 6749, section 5.2.

    Args:
        error: for example `invalid_grant`.
        description: Google's message.
    """

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


@dataclass(frozen=True)
class Identity:
    """The identity to which a provider maps a token.

    Attributes:
        principal: `principal://…/subject/…`.
        sets: every `principalSet://…` that includes it.
    """

    principal: str
    sets: tuple[str, ...]

    @property
    def member(self) -> str:
        """Return the identity in the form of `sandbox.api.principal.Principal.member`."""
        return "\n".join((self.principal, *self.sets))


def verify(token: str, provider: Json, keys: Sequence[Json] | None, now: float) -> tuple[dict[str, Any], int]:
    """Return a token's claims, and the lifetime of an access token for it in seconds.

    Args:
        provider: Google's JSON, including `name`.
        keys: the issuer's public keys; None if they are unavailable.
        now: seconds since 1970 by the clock of the issuer.

    Raises:
        Refused: if the provider does not accept the token.
    """
    oidc = provider["oidc"]
    try:
        parsed = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Refused("invalid_grant", "Unable to parse the ID Token.") from None
    claims, header = parsed["payload"], parsed["header"]
    issuer = _shown(claims.get("iss")).rstrip("/")
    expected = oidc["issuerUri"].rstrip("/")
    if issuer != expected:
        raise Refused(
            "invalid_grant", f"The issuer in ID Token {issuer} does not match the expected one in config: {expected}."
        )
    _verify_signature(token, header, keys)
    audiences = claims.get("aud", [])
    audiences = audiences if isinstance(audiences, list) else [audiences]
    if not set(map(_shown, audiences)) & set(_audiences(provider)):
        found = ", ".join(map(_shown, audiences))
        raise Refused("invalid_grant", f"The audience in ID Token [{found}] does not match the expected audience.")
    issued, expires = claims.get("iat"), claims.get("exp")
    if not _is_moment(issued) or not _is_moment(expires) or issued > now + LEEWAY or expires < now - LEEWAY:
        raise Refused("invalid_grant", f"ID Token issued at {_shown(issued)} is stale to sign-in.")
    return claims, max(1, min(int(expires - now), _MOST_SECONDS))


def _is_moment(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    # Google's messages show a missing claim as "null".
    return "null" if value is None else str(value)[:500]


def _audiences(provider: Json) -> Sequence[str]:
    """Return the audiences that a provider accepts; by default its own name, in two forms."""
    own = f"//iam.googleapis.com/{provider['name']}"
    return provider["oidc"].get("allowedAudiences") or (own, f"https:{own}")


def _verify_signature(token: str, header: Json, keys: Sequence[Json] | None) -> None:
    if keys is None:
        raise Refused(
            "invalid_grant",
            f"{_UNKNOWN_ISSUER} The workbook's sandbox fetches no keys: give them to the provider, with "
            "--jwk-json-path.",
        )
    algorithm = header.get("alg")
    if algorithm not in issuers.ALGORITHMS.values():
        # unverified: the sentence for "none" and for symmetric algorithms
        raise Refused("invalid_grant", "Unable to verify the ID Token signature.")
    chosen = [key for key in keys if key["kid"] == header.get("kid") and issuers.ALGORITHMS[key["kty"]] == algorithm]
    if not chosen:
        raise Refused("invalid_grant", _UNKNOWN_ISSUER)
    others = ("verify_aud", "verify_exp", "verify_iat", "verify_jti", "verify_nbf", "verify_sub")
    options: Any = dict.fromkeys(others, False)
    for key in chosen:
        try:
            jwt.decode(token, issuers.public_key(key), algorithms=[str(algorithm)], options=options)
        except (jwt.PyJWTError, ValueError, OverflowError):
            continue
        return
    raise Refused("invalid_grant", "Unable to verify the ID Token signature.")


def admit(claims: Json, provider: Json) -> Identity:
    """Map a token's claims to an identity.

    Raises:
        Refused: if the provider's condition is not met, or Google would not accept a mapped attribute.
    """
    mapped = _mapped(claims, provider.get("attributeMapping", {}))
    google = {key.partition(".")[2]: value for key, value in mapped.items() if key.startswith("google.")}
    attribute = {key.partition(".")[2]: value for key, value in mapped.items() if key.startswith("attribute.")}
    if condition := provider.get("attributeCondition"):
        variables = {"assertion": claims, "google": google, "attribute": attribute}
        if _value(condition, CONDITION_VARIABLES, variables) is not True:
            raise Refused("unauthorized_client", "The given credential is rejected by the attribute condition.")
    for key, value in mapped.items():
        _check_type(key, value)
    subject = google.get("subject", "")
    if not subject or _CONTROL.search(subject):
        raise Refused("unauthorized_client", "Could not obtain a value for google.subject from the given credential.")
    if len(subject.encode()) > _SUBJECT_BYTES:
        raise Refused(
            "invalid_request",
            f"The size of mapped attribute google.subject exceeds the {_SUBJECT_BYTES} bytes limit. Either modify your "
            "attribute mapping or the incoming assertion to produce a mapped attribute that is less than "
            f"{_SUBJECT_BYTES} bytes.",
        )
    pool = provider["name"].partition("/providers/")[0]
    names = [f"group/{group}" for group in google.get("groups", ())]
    names += [f"attribute.{name}/{value}" for name, value in attribute.items() if value]
    if sum(map(len, (name.encode() for name in names))) > _ALL_BYTES:
        # unverified: the sentence; the limit is the reference's
        raise Refused("invalid_request", f"The size of all mapped attributes exceeds the {_ALL_BYTES} bytes limit.")
    # `Identity.member` separates names by line breaks, so a value with a line break could forge another name.
    named = ["*", *(name for name in sorted(names) if not _CONTROL.search(name))]
    return Identity(
        f"principal://iam.googleapis.com/{pool}/subject/{subject}",
        tuple(f"principalSet://iam.googleapis.com/{pool}/{name}" for name in named),
    )


def _mapped(claims: Json, mapping: Json) -> dict[str, Any]:
    """Return the attributes that have a value, which those of a missing claim do not."""
    # unverified: that Google accepts such a token, as long as it has a subject
    found = {key: _value(text, MAPPING_VARIABLES, {"assertion": claims}) for key, text in mapping.items()}
    return {key: value for key, value in found.items() if value is not None}


def _value(text: str, names: frozenset[str], variables: Mapping[str, Json]) -> Any:
    # Loading CEL takes half a second, which only a token exchange needs.
    from sandbox.iam import cel

    try:
        return cel.compile_expression(text, names).evaluate(variables)
    except (cel.NotCompiled, cel.NotEvaluated):
        return None


def _check_type(key: str, value: Any) -> None:
    if key == "google.groups":
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            # unverified: the sentence
            raise Refused("unauthorized_client", f"The mapped attribute '{key}' must be of type LIST of STRING.")
    elif not isinstance(value, str):
        raise Refused("unauthorized_client", f"The mapped attribute '{key}' must be of type STRING.")
