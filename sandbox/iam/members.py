"""Members that policies may name: people and groups of a small directory, service accounts, Google's own accounts.

A member must exist: Google answers 400 for a group or a person that does not.
"""

from __future__ import annotations

import re
import sqlite3

from sandbox.errors import invalid
from sandbox.iam import pools

TYPES = "https://cloud.google.com/iam/help/members/types"

# Accounts that Google creates for a project; {number} is the project's number.
# https://cloud.google.com/iam/docs/service-account-types#google-managed
BUILD_ACCOUNT = "{number}@cloudbuild.gserviceaccount.com"
COMPUTE_ACCOUNT = "{number}-compute@developer.gserviceaccount.com"
REGISTRY_AGENT = "service-{number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
RUN_AGENT = "service-{number}@serverless-robot-prod.iam.gserviceaccount.com"
BUILD_AGENT = "service-{number}@gcp-sa-cloudbuild.iam.gserviceaccount.com"
ANALYSIS_AGENT = "service-{number}@container-analysis.iam.gserviceaccount.com"
GOOGLE_MADE = (BUILD_ACCOUNT, COMPUTE_ACCOUNT, REGISTRY_AGENT, RUN_AGENT, BUILD_AGENT, ANALYSIS_AGENT)

_MADE_BY_GOOGLE = re.compile(
    "|".join(
        re.escape(account).replace(re.escape("{number}"), rf"(?P<n{place}>\d+)")
        for place, account in enumerate(GOOGLE_MADE)
    )
)
_SERVICE_ACCOUNT = re.compile(r".+@(.+\.)?gserviceaccount\.com")
_ADDRESS = re.compile(r"[^@\s:]+@[^@\s:]+\.[^@\s:]+")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


# The people and groups outside the project, as a company's Workspace account knows them.
USERS = ("ana@example.com", "ben@example.com", "chen@example.com")
GROUPS = {
    "group:ml-team@example.com": ("user:ana@example.com", "user:ben@example.com"),
    "group:release-managers@example.com": ("user:chen@example.com",),
}
DOMAIN = "example.com"


def service_account_exists(rows: sqlite3.Connection, email: str) -> bool:
    """Return whether a caller created the service account, or Google creates it for one of this world's projects."""
    if rows.execute("SELECT 1 FROM service_accounts WHERE email = ?", (email,)).fetchone():
        return True
    return made_for(rows, email) is not None


def is_googles(email: str) -> bool:
    """Return whether an address is one of Google's own accounts, for an existing project or not."""
    return _MADE_BY_GOOGLE.fullmatch(email) is not None


def made_for(rows: sqlite3.Connection, email: str) -> str | None:
    """Return the id of the project of one of Google's own accounts, or None for other accounts and projects."""
    match = _MADE_BY_GOOGLE.fullmatch(email)
    if match is None:
        return None
    number = next(value for value in match.groups() if value)
    row = rows.execute("SELECT id FROM projects WHERE number = ?", (number,)).fetchone()
    return row["id"] if row else None


def check(rows: sqlite3.Connection, member: str) -> str:
    """Return a member of a policy as Google stores it: addresses in lower case, identities of a pool unchanged.

    Raises:
        ApiError: INVALID_ARGUMENT for an unknown kind, a malformed address, or a member that does not exist. The
            messages about people, groups, pools and service accounts are Google's, seen in public issue threads; the
            one about domains is `# unverified`.
    """
    if member in ("allUsers", "allAuthenticatedUsers"):
        return member
    if (pool := pools.pool_of(member)) is not None:
        # Identities are case-sensitive: they hold the issuer's claims.
        _check_pool(rows, pool)
        return member
    kind, _, name = member.partition(":")
    if kind not in ("user", "serviceAccount", "group", "domain"):
        raise invalid(f"The member {member} is of an unknown type. Please set a valid type prefix for the member.")
    name = name.lower()
    if not (_DOMAIN if kind == "domain" else _ADDRESS).fullmatch(name):
        raise invalid(
            f"Invalid member: {member}. The part after the colon must be "
            f"{'a domain name' if kind == 'domain' else 'an e-mail address'}. See {TYPES}."
        )
    if kind == "domain":
        if name != DOMAIN:
            raise invalid(f"Domain {name} does not exist.")
    elif kind == "serviceAccount" or _SERVICE_ACCOUNT.fullmatch(name):
        if not service_account_exists(rows, name):
            raise invalid(f"Service account {name} does not exist.")
        _has_kind("serviceAccount", kind, name)
    elif f"group:{name}" in GROUPS:
        _has_kind("group", kind, name)
    elif name in USERS:
        _has_kind("user", kind, name)
    else:
        raise invalid(f"{kind.capitalize()} {name} does not exist.")
    return f"{kind}:{name}"


def _check_pool(rows: sqlite3.Connection, pool: str) -> None:
    number = pool.split("/")[1]
    known = rows.execute("SELECT 1 FROM projects WHERE number = ?", (number,)).fetchone()
    if not known or (pools.find(rows, pool) or {}).get("state") != "ACTIVE":
        raise invalid(
            f"Identity Pool does not exist ({pool}). Please check that you specified a valid resource name as returned "
            "in the `name` attribute in the configuration API."
        )


def _has_kind(right: str, given: str, name: str) -> None:
    if given != right:
        raise invalid(
            f'Principal {name} is of type "{right}". The principal should appear as "{right}:{name}". '
            f"See {TYPES} for additional documentation."
        )
