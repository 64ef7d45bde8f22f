"""May this caller run something as this account? One answer for builds, triggers, services and whatever comes.

The name is brought into one form first, whatever spelling it comes in, and `iam.serviceAccounts.actAs` is asked for on
that: a project that is only written into the name decides nothing.
Sources: https://cloud.google.com/iam/docs/attach-service-accounts; that the default compute account asks for it like
any other, and the legacy account of Cloud Build for nothing:
https://cloud.google.com/build/docs/cloud-build-service-account-updates
"""

from __future__ import annotations

import re
import sqlite3

from sandbox.errors import ApiError
from sandbox.iam import policies, standing
from sandbox.iam.members import BUILD_ACCOUNT, COMPUTE_ACCOUNT, service_account_exists
from sandbox.state.projects import Project
from sandbox.state.world import World

ACT_AS = "iam.serviceAccounts.actAs"
_NAME = re.compile(r"(?:projects/(?P<project>[^/]+)/serviceAccounts/)?(?P<account>[^/]+)")


def default_account(project: Project) -> str:
    """Return what builds and services run as when they name nobody: Compute Engine's default account, since 2024."""
    return COMPUTE_ACCOUNT.format(number=project.number)


def check(world: World, member: str, named: str, *, builds_of: Project | None = None) -> str | None:
    """Return the e-mail address of the account that is named, when the caller may run something as it.

    None when it may not.

    Args:
        member: who asks.
        named: an e-mail address or a unique id, alone or in `projects/P/serviceAccounts/…`, where P is an id, a number
            or `-`.
        builds_of: the project whose build is asked for; its legacy account of Cloud Build needs no permission.

    Raises:
        ApiError: FAILED_PRECONDITION for an account that the caller may act as, and that is disabled.
    """
    found = _look(world, named, builds_of)
    if found is None:
        return None
    email, resource, active = found
    if resource and not policies.decide(world, member, ACT_AS, resource).allowed:
        return None
    if not active:
        raise ApiError("FAILED_PRECONDITION", f"Service account {email} is disabled.")  # unverified: the sentence
    return email


def resolve(world: World, named: str, *, builds_of: Project | None = None) -> str | None:
    """Return the e-mail address of an account that is there and active, whoever asks; None for any other."""
    found = _look(world, named, builds_of)
    return found[0] if found is not None and found[2] else None


def _look(world: World, named: str, builds_of: Project | None) -> tuple[str, str, bool] | None:
    """Return an account's address, its resource ("" where nobody needs a permission), and whether it is active."""
    match = _NAME.fullmatch(named)
    if match is None:
        return None
    project, account = match["project"] or "-", match["account"].lower()
    if builds_of is not None and account == BUILD_ACCOUNT.format(number=builds_of.number):
        return (account, "", True) if project in ("-", builds_of.id, builds_of.number) else None
    with world.reading() as rows:
        resource = policies.canonical(rows, f"projects/{project}/serviceAccounts/{account}")
        email = resource.rpartition("/")[2]
        known = _is_of(rows, resource)
        active = standing.is_active(rows, f"serviceAccount:{email}")
    return (email, resource, active) if known else None


def _is_of(rows: sqlite3.Connection, resource: str) -> bool:
    """Whether a canonical name is that of an account, in the project that the name says."""
    _, project, _, email = resource.split("/")
    if project == "-":
        return False
    row = rows.execute("SELECT project FROM service_accounts WHERE email = ?", (email,)).fetchone()
    return row["project"] == project if row else service_account_exists(rows, email)
