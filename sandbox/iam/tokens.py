"""Authentication: access tokens, self-signed JWTs, and assertions that are exchanged for a token.

Tokens expire by the wall clock (`sandbox.state.clock` says why). Only their SHA-256 is stored.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import secrets
import sqlite3
import time
from collections.abc import Iterable
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.api import strict_json
from sandbox.api.principal import ANONYMOUS, Principal
from sandbox.iam import scopes, standing
from sandbox.state.world import World

LIFETIME = 3600  # seconds; https://cloud.google.com/docs/authentication/token-types#access-lifetime
_CLOUD = f"{scopes.PREFIX}{scopes.CLOUD}"
_LEEWAY = 30  # seconds that two clocks may differ

# https://cloud.google.com/artifact-registry/docs/docker/authentication, and gcloud's docker_helper.py
TOKEN_USERNAMES = ("oauth2accesstoken", "_dcgcloud_token", "_token")
# docker-credential-gcr puts its version here (config/const.go); Google refuses an empty version (its issue 129).
_STANDALONE_HELPER = re.compile(r"_dcgcr_[0-9A-Za-z_]+_token")


class InvalidToken(Exception):
    """The credential is unknown, expired, forged, or meant for another host; the message says which."""


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def mint(
    world: World, member: str, lifetime: int = LIFETIME, *, tick: bool = True, wanted: Iterable[str] = (_CLOUD,)
) -> str:
    """Return a new access token for a member.

    Args:
        lifetime: seconds.
        tick: passed to `World.writing`.
        wanted: the scopes in the client's request.

    Raises:
        InvalidToken: if the member is a disabled or deleted service account.
    """
    token = f"ya29.sandbox-{secrets.token_urlsafe(48)}"
    with world.writing(tick=tick) as rows:
        if not standing.is_active(rows, member):
            raise InvalidToken(f"{member.partition(':')[2]} is disabled or deleted")
        rows.execute("DELETE FROM tokens WHERE expires < ?", (time.time() - LIFETIME,))
        rows.execute(
            "INSERT INTO tokens (hash, member, expires, scopes) VALUES (?, ?, ?, ?)",
            (_hash(token), member, time.time() + lifetime, " ".join(scopes.narrow(wanted))),
        )
    return token


def expire_all(world: World) -> int:
    """Expire every access token and registry token, for lessons, and return how many access tokens there were."""
    with world.writing() as rows:
        standing.end_all(rows)
        return rows.execute("UPDATE tokens SET expires = ? WHERE expires > ?", (time.time() - 1, time.time())).rowcount


def _keys(rows: sqlite3.Connection, key_id: str, issuer: str) -> list[sqlite3.Row]:
    """Return the key with an id, or all keys of the account if the id is empty, as in assertions of Node's clients."""
    return rows.execute(
        "SELECT keys.public_key, keys.email FROM service_account_keys AS keys JOIN service_accounts USING (email)"
        " WHERE (keys.id = ? OR (? = '' AND email = ?)) AND disabled = 0",
        (key_id, key_id, issuer),
    ).fetchall()


def verify_assertion(world: World, assertion: str) -> dict[str, Any]:
    """Return the claims of a JWT signed with a service account's key. The caller must check the audience.

    Source: https://developers.google.com/identity/protocols/oauth2/service-account (claims, at most one hour).

    Raises:
        InvalidToken: if it is malformed, expired or valid for more than an hour, or if no key verifies it.
    """
    try:
        key_id = jwt.get_unverified_header(assertion).get("kid", "")
        unverified = jwt.decode(assertion, options={"verify_signature": False})
    except (jwt.InvalidTokenError, RecursionError, OverflowError) as error:
        raise InvalidToken(f"Invalid JWT: {error}") from None
    with world.reading() as rows:
        keys = _keys(rows, str(key_id), str(unverified.get("iss", "")))
    for key in keys[:-1]:
        with contextlib.suppress(InvalidToken):
            return _verified(assertion, key)
    if not keys:
        raise InvalidToken("Invalid JWT Signature.")
    return _verified(assertion, keys[-1])


def _verified(assertion: str, key: sqlite3.Row) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            assertion,
            key["public_key"],
            algorithms=["RS256"],
            leeway=_LEEWAY,
            options={"verify_aud": False, "require": ["iss", "iat", "exp"]},
        )
    except jwt.ExpiredSignatureError:
        raise InvalidToken(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat "
            "and exp values in the JWT claim."
        ) from None
    except (jwt.InvalidTokenError, RecursionError, OverflowError):
        raise InvalidToken("Invalid JWT Signature.") from None
    if claims["iss"] != key["email"] or claims.get("sub", key["email"]) != key["email"]:
        raise InvalidToken("Invalid JWT: Failed audience check.")
    if int(claims["exp"]) - int(claims["iat"]) > LIFETIME + _LEEWAY:
        raise InvalidToken("Invalid JWT: Token must be a short-lived token (60 minutes).")
    return claims


def _row(world: World, token: str) -> tuple[sqlite3.Row | None, bool]:
    """Return an access token's row, and whether its account is active."""
    with world.reading() as rows:
        row = rows.execute("SELECT member, expires, scopes FROM tokens WHERE hash = ?", (_hash(token),)).fetchone()
        return row, row is None or standing.is_active(rows, row["member"])


def held(world: World, token: str) -> tuple[Principal, float] | None:
    """Return the principal of an access token and when it expires, or None if it is not valid."""
    row, active = _row(world, token)
    return (_principal(row), row["expires"]) if row and active and row["expires"] > time.time() else None


def _principal(row: sqlite3.Row) -> Principal:
    return Principal(row["member"], tuple(row["scopes"].split()))


def from_bearer(world: World, token: str, host: str) -> Principal:
    """Return the principal of a bearer token: an access token, or a self-signed JWT for this host.

    Google's Python clients with a key send a self-signed JWT (https://google.aip.dev/auth/4111): its audience is the
    API's URL, or it has a scope instead.

    Raises:
        InvalidToken: if it is neither, or is expired or meant for another host.
    """
    row, active = _row(world, token)
    if row is not None:
        if not active:
            raise InvalidToken("the access token's account is disabled or deleted")
        if row["expires"] <= time.time():
            raise InvalidToken("the access token has expired")
        return _principal(row)
    if token.count(".") != 2:
        raise InvalidToken("the access token is unknown")
    claims = verify_assertion(world, token)
    audience = str(claims.get("aud", ""))
    if audience:
        name = audience.removeprefix("https://").split("/", 1)[0]
        if name != host:
            raise InvalidToken(f"the JWT is meant for {name}")
    elif scopes.PREFIX not in str(claims.get("scope", "")):
        raise InvalidToken("the JWT has neither an audience nor a scope")
    narrowed = () if audience else scopes.narrow(str(claims["scope"]).split())
    return Principal(f"serviceAccount:{claims['iss']}", narrowed)


def from_basic(world: World, credentials: str, host: str) -> Principal:
    """Return the principal of the registry's `user:password`.

    The user names are Artifact Registry's: `oauth2accesstoken`, `_token` and gcloud's `_dcgcloud_token` with an access
    token; `_json_key` with a service-account key file; `_json_key_base64` with the same, encoded.

    Raises:
        InvalidToken: for another user name, or an invalid token or key.
    """
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidToken("the credentials are not base64") from None
    if user in TOKEN_USERNAMES or (_STANDALONE_HELPER.fullmatch(user) and user != "_dcgcr__token"):
        return from_bearer(world, password, host)
    if user == "_json_key_base64":
        try:
            password = base64.b64decode(password, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidToken("the key file is not base64") from None
    elif user != "_json_key":
        raise InvalidToken(f"unknown user name {user[:80]!r}")
    return _from_key_file(world, password)


def _from_key_file(world: World, text: str) -> Principal:
    """Check a key file: its private key must sign an assertion that the stored public key verifies."""
    try:
        key = strict_json.loads(text)
        now = int(time.time())
        private = serialization.load_pem_private_key(key["private_key"].encode(), None)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise TypeError(type(private))
        assertion = jwt.encode(
            {"iss": key["client_email"], "iat": now, "exp": now + 60},
            private,
            algorithm="RS256",
            headers={"kid": key["private_key_id"]},
        )
    except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm, jwt.PyJWTError):
        raise InvalidToken("the key file is not a service-account key") from None
    claims = verify_assertion(world, assertion)
    return Principal(f"serviceAccount:{claims['iss']}")


def authenticate(world: World, authorization: str | None, host: str, *, basic: bool = False) -> Principal:
    """Return the principal of an Authorization header; without a header, the anonymous principal.

    Args:
        host: Google's name of the called host; the audience of a self-signed JWT.
        basic: whether Basic credentials are accepted (by the registry, not by the APIs).

    Raises:
        InvalidToken: if the credential is not valid.
    """
    if not authorization:
        return ANONYMOUS
    match = re.fullmatch(r"(\w+)\s+(\S+)\s*", authorization)
    scheme, value = (match[1].lower(), match[2]) if match else ("", "")
    if scheme == "bearer":
        return from_bearer(world, value, host)
    if scheme == "basic" and basic:
        return from_basic(world, value, host)
    raise InvalidToken("the Authorization header is not one that this host takes")
