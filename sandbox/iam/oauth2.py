"""oauth2.googleapis.com: exchange an assertion signed with a service account's key for a token.

Source: https://developers.google.com/identity/protocols/oauth2/service-account. gcloud makes two requests, for an
access token and for an ID token (facts/gcloud.md 2).
"""

from __future__ import annotations

import time
from typing import Any

import jwt
from starlette.responses import JSONResponse, Response

from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.doors import request_body
from sandbox.iam import scopes, tokens
from sandbox.iam.keys import id_token_signing_key
from sandbox.state.world import World

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AUDIENCES = (
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/oauth2/v4/token",
    "https://accounts.google.com/o/oauth2/token",
)


def _refused(error: str, description: str, status: int = 400) -> Response:
    """Return an error in the form of RFC 6749, section 5.2."""
    return JSONResponse({"error": error, "error_description": description}, status)


def _token(call: Call) -> dict[str, Any] | Response:
    form = request_body.form(call.content)
    if form.get("grant_type") != _JWT_BEARER:
        return _refused(
            "unsupported_grant_type",
            "The workbook's sandbox exchanges a service account's assertion only; a person's login needs Google.",
        )
    try:
        claims = tokens.verify_assertion(call.world, form.get("assertion", ""))
    except tokens.InvalidToken as reason:
        return _refused("invalid_grant", str(reason))
    if claims.get("aud") not in _AUDIENCES:
        return _refused(
            "invalid_grant",
            "Invalid JWT: Failed audience check. The right audience is https://oauth2.googleapis.com/token",
        )
    if target := claims.get("target_audience"):
        return {"id_token": _id_token(call.world, str(claims["iss"]), str(target))}
    if not claims.get("scope"):
        return _refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    try:
        token = tokens.mint(call.world, f"serviceAccount:{claims['iss']}", wanted=str(claims["scope"]).split())
    except tokens.InvalidToken:
        # Disabled since the signature was verified.
        return _refused("invalid_grant", "Invalid JWT Signature.")
    return {"access_token": token, "expires_in": tokens.LIFETIME - 1, "token_type": "Bearer"}


def _id_token(world: World, email: str, audience: str) -> str:
    now = int(time.time())
    with world.reading() as rows:
        row = rows.execute("SELECT unique_id FROM service_accounts WHERE email = ?", (email,)).fetchone()
    claims = {
        "aud": audience,
        "azp": row["unique_id"],
        "email": email,
        "email_verified": True,
        "exp": now + tokens.LIFETIME,
        "iat": now,
        "iss": "https://accounts.google.com",
        "sub": row["unique_id"],
    }
    return jwt.encode(claims, id_token_signing_key(world), algorithm="RS256", headers={"kid": "sandbox"})


def _tokeninfo(call: Call) -> dict[str, Any] | Response:
    """Describe an access token: https://oauth2.googleapis.com/tokeninfo?access_token=..."""
    token = call.query.get("access_token") or request_body.form(call.content).get("access_token", "")
    try:
        principal = tokens.from_bearer(call.world, token, "oauth2.googleapis.com")
    except tokens.InvalidToken:
        return _refused("invalid_token", "Invalid Value")
    if principal.federated:
        # Measured on Google (2026-09-28): it does not know federated tokens.
        return _refused("invalid_token", "Invalid Value")
    return {
        "email": principal.email,
        "email_verified": "true",
        "scope": scopes.as_text(principal.scopes),
        "access_type": "online",
    }


API = Api(
    "oauth2.googleapis.com",
    "Google OAuth 2.0",
    ordered(
        (
            Method("oauth2.token", "POST", "/token", _token, open_to_all=True),
            Method("oauth2.tokeninfo", "GET", "/tokeninfo", _tokeninfo, open_to_all=True),
            Method("oauth2.tokeninfo", "POST", "/tokeninfo", _tokeninfo, open_to_all=True),
        )
    ),
    needs_enabling=False,
)

# The token endpoint of Google's older clients and of today's for Node.
LEGACY = Api(
    "www.googleapis.com",
    "Google OAuth 2.0, its older address",
    (Method("oauth2.v4.token", "POST", "/oauth2/v4/token", _token, open_to_all=True),),
)
