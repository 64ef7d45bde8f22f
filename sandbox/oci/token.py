"""The registry's own tokens: the challenge, the token endpoint, and who a request comes from.

https://distribution.github.io/distribution/spec/auth/token/ (GET, as docker, skopeo and crane ask) and .../auth/oauth/
(POST, as containerd asks). A registry token is a signed list of what was granted; it never widens anybody's rights,
since every operation asks IAM again.
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
    """Who a request comes from.

    Attributes:
        scopes: what a registry token grants, by `host/P/R/I`; None for a credential that is no registry token.
    """

    principal: Principal
    scopes: Mapping[str, frozenset[str]] | None = None

    def covers(self, image: Image, action: str) -> bool:
        """Whether the credential reaches as far as an action on an image."""
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

# Quoted in several public reports (2021 to 2026); why a credential is none, the sandbox's log says.
_NONE = "not authenticated: No credential was supplied."
_NOT_VALID = "not authenticated: No valid credential was supplied."


def challenge(address: Address, service: str, scope: str = "", error: str = "", message: str = _NONE) -> RegistryError:
    """401 with where to get a token: RFC 6750 section 3, as Artifact Registry sends it.

    Where no image is asked for it names neither service nor scope, as measured on 2026-08-28.
    """
    parts = [f'realm="{address.base}/v2/token"']
    if scope:
        parts += [f'service="{service}"', f'scope="{scope}"']
    if error:
        parts.append(f'error="{error}"')
    return RegistryError("UNAUTHORIZED", message, headers={"WWW-Authenticate": f"Bearer {','.join(parts)}"})


def is_quick(authorization: str) -> bool:
    """Tell whether a header is looked at faster than a thread wakes.

    A registry token is, by its signature and a few rows, and an access token, by rows; a JWT and a key file are not.
    """
    return authorization.lower().startswith((f"bearer {_PREFIX}", "bearer ya29."))


def _is_sealed(authorization: str) -> bool:
    return authorization.lower().startswith(f"bearer {_PREFIX}")


def identify(world: World, address: Address, service: str, authorization: str, scope: str = "") -> Caller:
    """Who shows this Authorization header to the registry.

    Registry tokens, raw access tokens, self-signed JWTs and Basic credentials are taken.

    Raises:
        RegistryError: UNAUTHORIZED, with a challenge when there is no credential; as on Google without one for one that
            is not valid.
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
    """Return what the caller gets: the asked actions, and whatever else IAM lets it do with the image.

    Some clients (oras for Python) ask for a token to see whether a blob is here, and push with the same token.
    unverified: whether Google's tokens reach as far

    Raises:
        RegistryError: DENIED in Google's words for the first that it does not.
    """
    for action in ("push", "pull", "delete"):
        if action in actions:
            require(world, principal, ACTIONS[action], image)
    allowed = frozenset(action for action in ACTIONS if may(world, principal, ACTIONS[action], image))
    if "*" in actions and not allowed:
        raise denied(principal, DOWNLOAD, image.repository)
    return allowed


def _granted(world: World, address: Address, principal: Principal, asked: Iterable[str]) -> dict[str, frozenset[str]]:
    granted: dict[str, frozenset[str]] = {}
    refusal: RegistryError | None = None
    for scope in asked:
        match = _SCOPE.fullmatch(scope)
        if match is None:
            raise RegistryError("NAME_INVALID", f"Invalid scope {scope[:200]!r}: expected repository:NAME:ACTION,...")
        if match["type"] != "repository":
            continue
        try:
            image = image_of(*split_host(address, match["name"]))
        except RegistryError:
            # The operation itself says what is wrong with the name; docker would retry for a minute here.
            continue
        actions = set(match["actions"].split(","))
        if not image.package and "push" in actions:
            # Reported of pushes (2025-04); a repository without an image may be asked for, to list what is in it.
            raise RegistryError("NAME_INVALID", MISSING_IMAGE)
        try:
            granted[image.key] = granted.get(image.key, frozenset()) | _grant(world, principal, image, actions)
        except RegistryError as error:
            # docker asks to pull from every place that a layer may be mounted from, beside the push itself: one such
            # place that the caller cannot read must not fail the push. unverified: Google's rule
            if "push" in actions:
                raise
            refusal = refusal or error
    if refusal is not None and not granted:
        raise refusal
    return granted


def issue(world: World, address: Address, service: str, authorization: str, asked: Iterable[str]) -> dict[str, Any]:
    """Answer the token endpoint; without scopes it only authenticates, which is all that `docker login` asks.

    Args:
        asked: scopes as they came, `repository:P/R/I:push,pull`, several in one value parted by spaces.

    Returns:
        what Artifact Registry answers: token, and expires_in in seconds.

    Raises:
        RegistryError: UNAUTHORIZED for invalid credentials, DENIED when IAM refuses a scope.
    """
    scopes = [scope for value in asked for scope in value.split()]
    try:
        # On the plain port only a scope names the host that a self-signed JWT must be meant for.
        named = [match["name"].partition("/")[0] for scope in scopes if (match := _SCOPE.fullmatch(scope))]
        host = address.host or next(iter(named), "")
        principal = tokens.authenticate(world, authorization, host, basic=True) if authorization else ANONYMOUS
    except InvalidToken as error:
        log.info("refused a credential: %s", redact(str(error)))
        raise RegistryError("UNAUTHORIZED", _NOT_VALID) from None
    caller = Caller(principal, _granted(world, address, principal, scopes))
    return {"token": _seal(world, caller, service), "expires_in": LIFETIME}


def exchange(world: World, address: Address, service: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Answer the token endpoint's OAuth 2 form: grant_type=password with the registry's user names.

    Raises:
        RegistryError: UNSUPPORTED for another grant; else as `issue`.
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
    # The specification of this form wants the first of these, and containerd reads it.
    return {"access_token": answer["token"], **answer, "scope": form.get("scope", "")}
