"""Whose tokens a provider takes: the keys of issuers, none of which is ever fetched.

GitHub's issuer keeps its address, and has keys of this world's own: nobody outside it can sign for them, and a token
that GitHub signed is no good here. Every other issuer's keys are those that the provider was given (`jwksJson`).
Source: https://docs.github.com/en/actions/reference/security/oidc for the issuer, its discovery document and its keys.
"""

from __future__ import annotations

import base64
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
from sandbox.state.clock import timestamp
from sandbox.state.world import World

Json = dict[str, Any]

GITHUB = "https://token.actions.githubusercontent.com"
ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
# unverified: how often GitHub changes its keys. The one before stays published until the next change.
_KEY_AGE = dt.timedelta(days=90)
_ROW = "github_actions_keys"
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k")


class BadKeys(ValueError):
    """A set of keys that Google does not take; the text says why."""


def check(text: Any) -> None:
    """Check the keys that a provider is given.

    Measured on Google (2026-09-28): RSA and P-256 are taken, whatever `alg` says; other curves and kinds are not.

    Raises:
        BadKeys: for a text that is no set of public keys of these kinds.
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
            # unverified: that Google refuses them. A private key has no business in anybody's configuration.
            raise BadKeys("Input jwks contains private keys. Upload the public halves only.")
        try:
            public_key(key)
        except (jwt.PyJWTError, ValueError, TypeError):
            raise BadKeys("Input jwks contains corrupted key material.") from None


def public_key(key: Mapping[str, Any]) -> Any:
    """Return a key as PyJWT takes it, whatever else the JWK says of itself."""
    return jwt.PyJWK({**key, "alg": ALGORITHMS[key["kty"]]}).key


def keys_for(world: World, provider: Mapping[str, Any]) -> list[Json] | None:
    """Return the public keys of a provider's issuer, or None for one that would have to be asked over the network."""
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
    """Sign a token as GitHub's issuer; whoever calls this has seen to it that the claims are true."""
    with world.writing(tick=False) as rows:
        held = _held(rows)
        if not held or held[0]["made"] < timestamp(world.now() - _KEY_AGE):
            held = _renewed(rows, world, held)
    key = serialization.load_pem_private_key(held[0]["pem"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - it is made below
    return jwt.encode({**claims, "iss": GITHUB}, key, algorithm="RS256", headers={"kid": held[0]["kid"]})


def rotate(world: World) -> str:
    """Sign with a new key from now on, and return its id; tokens of the one before stay good until they expire."""
    with world.writing(tick=False) as rows:
        return str(_renewed(rows, world, _held(rows))[0]["kid"])


def _held(rows: sqlite3.Connection) -> list[Json]:
    row = rows.execute("SELECT value FROM meta WHERE key = ?", (_ROW,)).fetchone()
    return list(json.loads(row["value"])) if row else []


def _renewed(rows: sqlite3.Connection, world: World, held: Sequence[Json]) -> list[Json]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    kept = [{"kid": secrets.token_hex(20).upper(), "pem": pem, "made": timestamp(world.now())}, *held[:1]]
    rows.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_ROW, json.dumps(kept)))
    return kept


def _public(key: Mapping[str, Any]) -> Json:
    private = serialization.load_pem_private_key(key["pem"].encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)  # noqa: S101 - it is made above
    numbers = private.public_key().public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": key["kid"],
        "n": _number(numbers.n),
        "e": _number(numbers.e),
    }


def _number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()
