"""iamcredentials.googleapis.com v1: short-lived access tokens for callers that may impersonate a service account.

Source: https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts. The paths for ID
tokens and signatures answer 501.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.errors import ApiError, check_fields, invalid, unimplemented
from sandbox.iam import tokens
from sandbox.iam.denial import denial
from sandbox.iam.service_accounts import find_account

SERVICE = "iamcredentials.googleapis.com"
TITLE = "IAM Service Account Credentials API"

_DURATION = re.compile(r"(\d{1,9})(\.\d{1,9})?s")
_ACCOUNT = "/v1/projects/{owner}/serviceAccounts/{account}"
_RESOURCE = "projects/{owner}/serviceAccounts/{account}"


def _lifetime(text: Any) -> int:
    """Return the lifetime in seconds, at most an hour: more needs an organisation policy that the sandbox lacks."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise invalid(f"Invalid value at 'lifetime' (type.googleapis.com/google.protobuf.Duration), {text!r}")
    seconds = int(match[1])
    # Measured on Google (2026-09-28), with the misspelling; the beginning of the second sentence is not quoted.
    if seconds <= 0:
        raise invalid("Lifetime of access token must be larger then zero.")
    if seconds > tokens.LIFETIME:
        raise invalid(
            "Access tokens can not have lifetimes of more than 1 hour. Use the Org Policy Constraint "
            "constraints/iam.allowServiceAccountCredentialLifetimeExtension to allow up to 12 hours."
        )
    return seconds


def _generate_access_token(call: Call) -> dict[str, Any]:
    body = call.json()
    check_fields(body, ("scope", "lifetime", "delegates", "name"))
    wanted = body.get("scope", [])
    if not isinstance(wanted, list) or not wanted or not all(isinstance(scope, str) and scope for scope in wanted):
        raise invalid("Request contains an invalid argument. A token needs at least one scope.")
    if body.get("delegates"):
        raise unimplemented("a chain of delegates; grant the Token Creator role on the last account instead")
    seconds = _lifetime(body.get("lifetime") or f"{tokens.LIFETIME}s")
    account = find_account(call, SERVICE, TITLE)
    if account["disabled"]:
        raise ApiError("FAILED_PRECONDITION", f"Service account {account['email']} is disabled.")  # unverified
    token = tokens.mint(call.world, f"serviceAccount:{account['email']}", seconds, wanted=wanted)
    # Tokens follow the wall clock, not the sandbox's (`sandbox.state.clock`).
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return {"accessToken": token, "expireTime": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _allowed_locations(call: Call) -> dict[str, Any]:
    # unverified: what Google answers for an account without a regional boundary
    return {"locations": [], "encodedLocations": "0x0"}


API = Api(
    SERVICE,
    TITLE,
    ordered(
        (
            Method(
                "iamcredentials.projects.serviceAccounts.generateAccessToken",
                "POST",
                f"{_ACCOUNT}:generateAccessToken",
                _generate_access_token,
                ("iam.serviceAccounts.getAccessToken",),
                _RESOURCE,
            ),
            Method(
                "iamcredentials.projects.serviceAccounts.getAllowedLocations",
                "GET",
                f"{_ACCOUNT}/allowedLocations",
                _allowed_locations,
            ),
        )
    ),
    denial=denial,
)
