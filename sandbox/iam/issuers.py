"""The public keys by which providers verify tokens. The sandbox never fetches keys over the network.

GitHub's issuer has its real address and keys of this world's own, so nobody outside can sign for it and tokens that
GitHub signed are refused. For every other issuer the provider's configuration has the keys (`jwksJson`).
Source: https://docs.github.com/en/actions/reference/security/oidc for the issuer, its discovery document and its keys.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.api import strict_json
from sandbox.iam.keys import new_pem
from sandbox.state import schema
from sandbox.state.clock import timestamp
from sandbox.state.world import World

Json = dict[str, Any]

GITHUB = "https://token.actions.githubusercontent.com"
ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
# unverified: how often GitHub rotates its keys. The previous key stays published until the next rotation.
_KEY_AGE = dt.timedelta(days=90)
_META = "github_actions_keys"
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k")


class BadKeys(ValueError):
    """Google does not accept the set of keys; the message says why."""


def check(text: Any) -> None:
    """Check the set of keys in a provider's configuration.

    Measured on Google (2026-09-28): RSA and P-256 keys are accepted, whatever their `alg`; other kinds are not.

    Raises:
        BadKeys: if the text is not a set of public keys of these kinds.
    """
    try:
        found = strict_json.loads(text)
        keys = found["keys"]
        bad = not isinstance(keys, list) or not keys or any(not isinstance(key.get("kid"), str) for key in keys)
    except (ValueError, TypeError, KeyError, AttributeError):
        bad = True
    if bad:
        raise BadKeys("Input JWK is not in a valid json format.")
    for key in keys:
        if key.get("kty") not in ALGORITHMS or (key["kty"] == "EC" and key.get("crv") != "P-256"):
            raise BadKeys("Invalid JWKs. Only RSA, EC key types are supported.")
        if any(name in key for name in _PRIVATE):
            # unverified: that Google refuses private keys.
            raise BadKeys("Input jwks contains private keys. Upload the public halves only.")
        try:
            public_key(key)
        except (jwt.PyJWTError, ValueError, TypeError):
            raise BadKeys("Input jwks contains corrupted key material.") from None


def public_key(key: Mapping[str, Any]) -> Any:
    """Return the key in the form that PyJWT expects. The JWK's own `alg` is ignored."""
    return jwt.PyJWK({**key, "alg": ALGORITHMS[key["kty"]]}).key


def keys_for(world: World, provider: Mapping[str, Any]) -> list[Json] | None:
    """Return the public keys of a provider's issuer, or None if they would have to be fetched over the network."""
    oidc = provider["oidc"]
    if text := oidc.get("jwksJson"):
        return list(json.loads(text)["keys"])
    return published(world) if oidc["issuerUri"].rstrip("/") == GITHUB else None


def published(world: World) -> list[Json]:
    """Return the public keys of GitHub's issuer, as `/.well-known/jwks` lists them."""
    with world.reading() as rows:
        held = _held(rows)
    return [_public(key) for key in held]


def sign(world: World, claims: Mapping[str, Any]) -> str:
    """Return a token signed as GitHub's issuer. The caller vouches for the claims."""
    with world.writing(tick=False) as rows:
        held = _held(rows)
        if not held or held[0]["made"] < timestamp(world.now() - _KEY_AGE):
            held = _renewed(rows, world, held)
    return jwt.encode({**claims, "iss": GITHUB}, held[0]["pem"], algorithm="RS256", headers={"kid": held[0]["kid"]})


def _held(rows: sqlite3.Connection) -> list[Json]:
    return list(json.loads(schema.meta(rows, _META) or "[]"))


def _renewed(rows: sqlite3.Connection, world: World, held: Sequence[Json]) -> list[Json]:
    _, pem = new_pem()
    kept = [{"kid": secrets.token_hex(20).upper(), "pem": pem, "made": timestamp(world.now())}, *held[:1]]
    schema.put_meta(rows, _META, json.dumps(kept))
    return kept


def _public(key: Mapping[str, Any]) -> Json:
    private = serialization.load_pem_private_key(key["pem"].encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)  # noqa: S101 - `keys.new_pem` made it
    numbers = jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key["kid"], "n": numbers["n"], "e": numbers["e"]}
