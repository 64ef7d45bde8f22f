"""sts.googleapis.com v1: exchange an identity provider's token for a federated access token, and describe one.

Sources: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token, RFC 8693 for the form, RFC 7662 for
`introspect`, which `gcloud auth login --cred-file` calls for the name of an identity that does not impersonate an
account. `sandbox.iam.federation` verifies tokens.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.doors import request_body
from sandbox.errors import unimplemented
from sandbox.iam import federation, issuers, pools, scopes, tokens
from sandbox.iam.federation import Refused

SERVICE = "sts.googleapis.com"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPE = "urn:ietf:params:oauth:token-type:"
_ACCESS_TOKEN = f"{_TYPE}access_token"
_ID_TOKENS = (f"{_TYPE}jwt", f"{_TYPE}id_token")
_OTHERS = (
    _ACCESS_TOKEN,
    f"{_TYPE}saml2",
    f"{_TYPE}mtls",
    "urn:ietf:params:aws:token-type:aws4_request",
)
_HOST = "//iam.googleapis.com/"
_PROVIDER = re.compile(rf"{_HOST}((projects/[^/]+/locations/global/workloadIdentityPools/[^/]+)/providers/[^/]+)")
_WORKFORCE = f"{_HOST}locations/global/workforcePools/"
_FORMS = "https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token"
_UNTRUE_TARGET = (
    'The target service indicated by the "audience" parameters is invalid. This might either be because the pool or '
    "provider is disabled or deleted or because it doesn't exist."
)


def _parameters(call: Call) -> Mapping[str, str]:
    """Return the fields of a form, or of a JSON body, whose names are in camel case."""
    if call.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
        found = {key: value for key, value in call.json().items() if isinstance(value, str)}
    else:
        found = request_body.form(call.content)
    return {re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", key): value for key, value in found.items()}


def _answer_refusals(call: Call, handle: Any) -> dict[str, Any] | Response:
    try:
        answer: dict[str, Any] = handle(call, _parameters(call))
    except Refused as refused:
        return JSONResponse({"error": refused.error, "error_description": refused.description}, 400)
    return answer


def _token(call: Call) -> dict[str, Any] | Response:
    return _answer_refusals(call, _exchanged)


def _exchanged(call: Call, form: Mapping[str, str]) -> dict[str, Any]:
    provider = _provider(call, form)
    token = form.get("subject_token", "")
    if not token:
        raise Refused("invalid_request", "Invalid value of subject_token in request.")  # unverified: the sentence
    keys = issuers.keys_for(call.world, provider)
    claims, seconds = federation.verify(token, provider, keys, _now(call, provider))
    identity = federation.admit(claims, provider)
    return {
        "access_token": tokens.mint(call.world, identity.member, seconds, tick=False, wanted=form["scope"].split()),
        "issued_token_type": _ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": seconds,
    }


def _now(call: Call, provider: Mapping[str, Any]) -> float:
    """Return the time by the issuer's clock: this world's for its own GitHub, the wall clock for other issuers."""
    own = "jwksJson" not in provider["oidc"]
    return (call.world.now() if own else dt.datetime.now(dt.UTC)).timestamp()


def _provider(call: Call, form: Mapping[str, str]) -> Mapping[str, Any]:
    """Check the parameters of an exchange, and return the provider.

    `Invalid value of requested_token_type in request.` and `Scope(s) must be provided.` are quoted in public
    repositories. That the messages about the other two parameters have the same form is `# unverified`.
    """
    if form.get("grant_type") != _EXCHANGE:
        raise Refused("invalid_request", "Invalid value of grant_type in request.")
    if form.get("requested_token_type") != _ACCESS_TOKEN:
        raise Refused("invalid_request", "Invalid value of requested_token_type in request.")
    kind = form.get("subject_token_type")
    if kind in _OTHERS:
        raise unimplemented(f"the exchange of a token of the type {kind}; OIDC's are here, {' and '.join(_ID_TOKENS)}")
    if kind not in _ID_TOKENS:
        raise Refused("invalid_request", "Invalid value of subject_token_type in request.")
    audience = form.get("audience", "")
    if audience.startswith(_WORKFORCE):
        raise unimplemented("workforce pools")
    match = _PROVIDER.fullmatch(audience)
    if match is None:
        raise Refused(
            "invalid_request",
            'Invalid value for "audience". This value should be the full resource name of the Identity Provider. See '
            f"{_FORMS} for the list of possible formats.",
        )
    if not form.get("scope", "").split():
        raise Refused("invalid_request", "Scope(s) must be provided.")
    if form.get("options", "").strip() not in ("", "{}") or form.get("actor_token"):
        raise unimplemented("options and actors of an exchange")
    with call.world.reading() as rows:
        pool, provider = pools.find(rows, match[2]), pools.find(rows, match[1])
    for one in (pool, provider):
        if one is None or one["state"] != "ACTIVE" or one.get("disabled"):
            raise Refused("invalid_target", _UNTRUE_TARGET)
    assert provider is not None  # noqa: S101 - of the loop above
    return provider


def _introspect(call: Call) -> dict[str, Any] | Response:
    return _answer_refusals(call, _introspected)


def _introspected(call: Call, form: Mapping[str, str]) -> dict[str, Any]:
    # gcloud authenticates as its own OAuth client. The sandbox has no list of clients.
    if not call.headers.get("authorization", "").lower().startswith("basic ") and not form.get("client_id"):
        raise Refused("invalid_client", "The OAuth client was not found.")  # unverified: the sentence
    if form.get("token_type_hint", _ACCESS_TOKEN) not in (_ACCESS_TOKEN, "access_token"):
        raise Refused("unsupported_token_type", "Invalid value of token_type_hint in request.")  # unverified
    found = tokens.held(call.world, form.get("token", ""))
    # unverified: what Google answers about a token that is not federated
    if found is None or not found[0].federated:
        return {"active": False}
    principal, expires = found
    return {
        "active": True,
        "iss": f"https://{SERVICE}/",
        "username": principal.name,
        "exp": str(int(expires)),
        "scope": scopes.as_text(principal.scopes),
    }


API = Api(
    SERVICE,
    "Security Token Service API",
    ordered(
        (
            Method("sts.token", "POST", "/v1/token", _token, open_to_all=True),
            Method("sts.introspect", "POST", "/v1/introspect", _introspect, open_to_all=True),
        )
    ),
    needs_enabling=False,
)
