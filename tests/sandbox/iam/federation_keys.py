"""An identity provider for tests: its keys, their public set, and the tokens that it signs."""

from __future__ import annotations

import functools
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "https://idp.example.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type"


@functools.cache
def private(name: str) -> Any:
    """Return the private key of a name, generated once. `ec` is a P-256 key, every other name an RSA key."""
    return ec.generate_private_key(ec.SECP256R1()) if name == "ec" else rsa.generate_private_key(65537, 2048)


def public(name: str) -> dict[str, Any]:
    """Return the public key as a JWK, with the name as its id."""
    algorithm = jwt.algorithms.ECAlgorithm if name == "ec" else jwt.algorithms.RSAAlgorithm
    return {**json.loads(algorithm.to_jwk(private(name).public_key())), "kid": name}


def jwks(*names: str) -> str:
    """Return the key set that `--jwk-json-path` uploads."""
    return json.dumps({"keys": [public(name) for name in names]})


def claims(audience: str, **changes: Any) -> dict[str, Any]:
    """Return the claims of a token of GitHub Actions, with changes; None removes a claim."""
    now = int(time.time())
    body: dict[str, Any] = {
        "iss": ISSUER,
        "sub": "repo:ana/models:ref:refs/heads/main",
        "aud": audience,
        "iat": now,
        "exp": now + 600,
        "repository": "ana/models",
        "repository_owner": "ana",
        "ref": "refs/heads/main",
        "event_name": "push",
        "actor": "ana",
        "groups": ["ml", "release"],
        "admin": True,
    }
    return {key: value for key, value in (body | changes).items() if value is not None}


def token(body: dict[str, Any], key: str = "rsa", **header: Any) -> str:
    """Sign a token with a key. The header has the key's name and the given fields; None removes a field."""
    algorithm = "ES256" if key == "ec" else "RS256"
    kept = {name: value for name, value in {"kid": key, **header}.items() if value is not None}
    return jwt.encode(body, private(key), algorithm=algorithm, headers=kept)


def exchange(audience: str, subject_token: str, /, **changes: Any) -> dict[str, str]:
    """Return the form of a token exchange, with changes; None removes a field."""
    form = {
        "grant_type": EXCHANGE,
        "audience": audience,
        "scope": SCOPE,
        "requested_token_type": f"{TYPE}:access_token",
        "subject_token": subject_token,
        "subject_token_type": f"{TYPE}:jwt",
    }
    return {key: value for key, value in (form | changes).items() if value is not None}
