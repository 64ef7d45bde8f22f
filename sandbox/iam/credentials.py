"""iamcredentials.googleapis.com v1: short-lived access tokens of a service account for whoever may impersonate it.

Source: https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts. ID tokens and
signatures are not made here: those paths answer 501.
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
    """Seconds, up to an hour; more needs an organisation policy, which the sandbox has none of."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise invalid(f"Invalid value at 'lifetime' (type.googleapis.com/google.protobuf.Duration), {text!r}")
    seconds = int(match[1])
    # Measured on Google (2026-09-28), misspelt as here; the beginning of the second is not quoted.
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
    asked = body.get("scope", [])
    if not isinstance(asked, list) or not asked or not all(isinstance(scope, str) and scope for scope in asked):
        raise invalid("Request contains an invalid argument. A token needs at least one scope.")
    if body.get("delegates"):
        raise unimplemented("a chain of delegates; grant the Token Creator role on the last account instead")
    seconds = _lifetime(body.get("lifetime") or f"{tokens.LIFETIME}s")
    account = find_account(call, SERVICE, TITLE)
    if account["disabled"]:
        raise ApiError("FAILED_PRECONDITION", f"Service account {account['email']} is disabled.")  # unverified
    token = tokens.mint(call.world, f"serviceAccount:{account['email']}", seconds, wanted=asked)
    # Tokens live by the wall clock, whatever the sandbox's own clock says.
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
