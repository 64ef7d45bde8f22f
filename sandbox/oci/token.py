"""Registry tokens: the challenge, the token endpoint, and the identification of callers.

https://distribution.github.io/distribution/spec/auth/token/ (GET, from docker, skopeo and crane) and .../auth/oauth/
(POST, from containerd). A registry token is a signed list of actions. It grants nothing by itself, since every
operation checks the caller's permissions again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.api.principal import ANONYMOUS, Principal
from sandbox.artifact_registry.image_names import Image
from sandbox.errors import RegistryError
from sandbox.iam import standing, tokens
from sandbox.iam.tokens import InvalidToken
from sandbox.oci import signing
from sandbox.oci.address import MISSING_IMAGE, Address, image_of, split_host
from sandbox.oci.rights import ACTIONS, DOWNLOAD, denied, may, require
from sandbox.redaction import redact
from sandbox.state.world import World

LIFETIME = 43200  # seconds; the `expires_in` that users of Artifact Registry report
_PREFIX = "registry-"
_SCOPE = re.compile(r"(?P<type>[a-z0-9]+)(?:\([a-z0-9]+\))?:(?P<name>\S+):(?P<actions>[a-z*]+(?:,[a-z*]+)*)")


@dataclass(frozen=True)
class Caller:
    """The caller of a request.

    Attributes:
        scopes: the actions of a registry token by `host/P/R/I`; None for other credentials, which have no limit.
    """

    principal: Principal
    scopes: Mapping[str, frozenset[str]] | None = None

    def covers(self, image: Image, action: str) -> bool:
        """Return whether the credential includes an action on an image."""
        return self.scopes is None or action in self.scopes.get(image.key, frozenset())


def _sign(world: World, payload: str) -> str:
    return signing.encode(hmac.digest(signing.key(world), payload.encode(), hashlib.sha256))


def _seal(world: World, caller: Caller, audience: str) -> str:
    member = caller.principal.member
    with world.reading() as rows:
        era = standing.era(rows, member)
    claims = {
        "sub": member,
        "era": era,
        "aud": audience,
        "exp": int(time.time()) + LIFETIME,
        "access": {key: sorted(actions) for key, actions in (caller.scopes or {}).items()},
    }
    payload = signing.pack(claims)
    return f"{_PREFIX}{payload}.{_sign(world, payload)}"


def _open(world: World, token: str, audience: str) -> Caller:
    payload, _, signature = token.removeprefix(_PREFIX).partition(".")
    if not hmac.compare_digest(_sign(world, payload).encode(), signature.encode()):
        raise InvalidToken("the registry token's signature is wrong")
    claims = signing.unpack(payload)
    if claims["exp"] <= time.time():
        raise InvalidToken("the registry token has expired")
    if claims["aud"] != audience:
        raise InvalidToken(f"the registry token is meant for {claims['aud']}")
    with world.reading() as rows:
        ended = claims.get("era") != standing.era(rows, claims["sub"]) or not standing.is_active(rows, claims["sub"])
    if ended:
        raise InvalidToken("the registry token has ended, with its account's or all tokens")
    return Caller(Principal(claims["sub"]), {key: frozenset(actions) for key, actions in claims["access"].items()})


log = logging.getLogger("sandbox")

# Quoted in several public reports (2021 to 2026). The sandbox's log has the reason for a refusal.
_NONE = "not authenticated: No credential was supplied."
_NOT_VALID = "not authenticated: No valid credential was supplied."


def challenge(address: Address, service: str, scope: str = "", error: str = "", message: str = _NONE) -> RegistryError:
    """Return a 401 with Artifact Registry's challenge: RFC 6750 section 3.

    Without an image, it has neither service nor scope, as measured on 2026-08-28.
    """
    parts = [f'realm="{address.base}/v2/token"']
    if scope:
        parts += [f'service="{service}"', f'scope="{scope}"']
    if error:
        parts.append(f'error="{error}"')
    return RegistryError("UNAUTHORIZED", message, headers={"WWW-Authenticate": f"Bearer {','.join(parts)}"})


def is_quick(authorization: str) -> bool:
    """Return whether checking a header costs less than a thread switch.

    True for a registry token (a signature and a few rows) and an access token (rows), not for a JWT or a key file.
    """
    return authorization.lower().startswith((f"bearer {_PREFIX}", "bearer ya29."))


def _is_sealed(authorization: str) -> bool:
    return authorization.lower().startswith(f"bearer {_PREFIX}")


def identify(world: World, address: Address, service: str, authorization: str, scope: str = "") -> Caller:
    """Return the caller with an Authorization header.

    Accepts registry tokens, access tokens, self-signed JWTs and Basic credentials.

    Raises:
        RegistryError: UNAUTHORIZED, as on Google with a challenge only if there is no credential.
    """
    if not authorization:
        raise challenge(address, service, scope)
    try:
        if _is_sealed(authorization):
            return _open(world, authorization.split(None, 1)[1].strip(), service)
        return Caller(tokens.authenticate(world, authorization, address.host, basic=True))
    except InvalidToken as error:
        log.info("refused a credential: %s", redact(str(error)))
        raise RegistryError("UNAUTHORIZED", _NOT_VALID) from None


def _grant(world: World, principal: Principal, image: Image, actions: set[str]) -> frozenset[str]:
    """Return all actions that the caller may perform on the image, including the requested ones.

    Some clients (oras for Python) request a token to check for a blob, and push with the same token.
    unverified: whether Google's tokens include other actions

    Raises:
        RegistryError: DENIED in Google's words, for the first requested action that the caller may not perform.
    """
    for action in ("push", "pull", "delete"):
        if action in actions:
            require(world, principal, ACTIONS[action], image)
    allowed = frozenset(action for action in ACTIONS if may(world, principal, ACTIONS[action], image))
    if "*" in actions and not allowed:
        raise denied(principal, DOWNLOAD, image.repository)
    return allowed


def _granted(world: World, address: Address, principal: Principal, scopes: Iterable[str]) -> dict[str, frozenset[str]]:
    granted: dict[str, frozenset[str]] = {}
    refusal: RegistryError | None = None
    for scope in scopes:
        match = _SCOPE.fullmatch(scope)
        if match is None:
            raise RegistryError("NAME_INVALID", f"Invalid scope {scope[:200]!r}: expected repository:NAME:ACTION,...")
        if match["type"] != "repository":
            continue
        try:
            image = image_of(*split_host(address, match["name"]))
        except RegistryError:
            # The operation itself reports the invalid name; docker would retry for a minute here.
            continue
        actions = set(match["actions"].split(","))
        if not image.package and "push" in actions:
            # Reported for pushes (2025-04). A token to pull may name a repository alone, to list its images.
            raise RegistryError("NAME_INVALID", MISSING_IMAGE)
        try:
            granted[image.key] = granted.get(image.key, frozenset()) | _grant(world, principal, image, actions)
        except RegistryError as error:
            # docker also requests a pull from every repository from which it could mount a layer; one that the caller
            # cannot read must not make the push fail. unverified: Google's rule
            if "push" in actions:
                raise
            refusal = refusal or error
    if refusal is not None and not granted:
        raise refusal
    return granted


def issue(world: World, address: Address, service: str, authorization: str, requested: Iterable[str]) -> dict[str, Any]:
    """Return the token endpoint's response. Without scopes, as from `docker login`, this only authenticates.

    Args:
        requested: values such as `repository:P/R/I:push,pull`, which may contain several scopes separated by spaces.

    Raises:
        RegistryError: UNAUTHORIZED for an invalid credential, DENIED if the caller may not perform an action.
    """
    scopes = [scope for value in requested for scope in value.split()]
    try:
        # On the plain port only a scope has the host, which must be the audience of a self-signed JWT.
        named = [match["name"].partition("/")[0] for scope in scopes if (match := _SCOPE.fullmatch(scope))]
        host = address.host or next(iter(named), "")
        principal = tokens.authenticate(world, authorization, host, basic=True) if authorization else ANONYMOUS
    except InvalidToken as error:
        log.info("refused a credential: %s", redact(str(error)))
        raise RegistryError("UNAUTHORIZED", _NOT_VALID) from None
    caller = Caller(principal, _granted(world, address, principal, scopes))
    return {"token": _seal(world, caller, service), "expires_in": LIFETIME}


def exchange(world: World, address: Address, service: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the response to the token endpoint's OAuth 2 form: grant_type=password with the registry's user names.

    Raises:
        RegistryError: UNSUPPORTED for another grant type, and the errors of `issue`.
    """
    grant = form.get("grant_type", "")
    if grant != "password":
        # unverified: text
        raise RegistryError(
            "UNSUPPORTED",
            f"Unsupported grant_type {grant[:80]!r}: this registry gives no refresh tokens, use grant_type=password",
            http_status=400,
        )
    pair = f"{form.get('username', '')}:{form.get('password', '')}"
    authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    answer = issue(world, address, service, authorization, [form.get("scope", "")])
    # The specification of this form requires `access_token`, and containerd reads it.
    return {"access_token": answer["token"], **answer, "scope": form.get("scope", "")}
