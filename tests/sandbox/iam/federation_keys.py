"""An identity provider of a test's own: keys, the set of them that a provider is given, and tokens."""

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
    """A private key, made once: `rsa`, `ec`, or any other RSA key by its name."""
    return ec.generate_private_key(ec.SECP256R1()) if name == "ec" else rsa.generate_private_key(65537, 2048)


def public(name: str) -> dict[str, Any]:
    """The public half as a JWK, whose id is the name."""
    algorithm = jwt.algorithms.ECAlgorithm if name == "ec" else jwt.algorithms.RSAAlgorithm
    return {**json.loads(algorithm.to_jwk(private(name).public_key())), "kid": name}


def jwks(*names: str) -> str:
    """A set of keys, as `--jwk-json-path` uploads it."""
    return json.dumps({"keys": [public(name) for name in names]})


def claims(audience: str, **changes: Any) -> dict[str, Any]:
    """What a token of GitHub's says, with changes; None takes a claim away."""
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
    """Sign a token with one of the keys, whose name its header tells; None takes a field of the header away."""
    algorithm = "ES256" if key == "ec" else "RS256"
    kept = {name: value for name, value in {"kid": key, **header}.items() if value is not None}
    return jwt.encode(body, private(key), algorithm=algorithm, headers=kept)


def exchange(audience: str, subject_token: str, /, **changes: Any) -> dict[str, str]:
    """The form of an exchange, with changes; None takes a field away."""
    form = {
        "grant_type": EXCHANGE,
        "audience": audience,
        "scope": SCOPE,
        "requested_token_type": f"{TYPE}:access_token",
        "subject_token": subject_token,
        "subject_token_type": f"{TYPE}:jwt",
    }
    return {key: value for key, value in (form | changes).items() if value is not None}
