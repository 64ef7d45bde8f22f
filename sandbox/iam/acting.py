"""Check whether a caller may run a build, a trigger or a service as a service account.

The permission `iam.serviceAccounts.actAs` is checked on the account's canonical name, so a project that the caller
writes into the name has no influence.
Sources: https://cloud.google.com/iam/docs/attach-service-accounts. The default compute account needs the permission
like any other, and Cloud Build's legacy account does not:
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
    """Return the account of builds and services that name none: Compute Engine's default account, since 2024."""
    return COMPUTE_ACCOUNT.format(number=project.number)


def check(world: World, member: str, named: str, *, builds_of: Project | None = None) -> str | None:
    """Return the e-mail address of an account, or None if the caller may not act as it.

    Args:
        member: the caller.
        named: an e-mail address or a unique id, alone or in `projects/P/serviceAccounts/…`, where P is an id, a number
            or `-`.
        builds_of: the project of the build to run; its legacy account of Cloud Build needs no permission.

    Raises:
        ApiError: FAILED_PRECONDITION if the caller may act as the account, but it is disabled.
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
    """Return the e-mail address of an account, or None if it does not exist or is disabled. Checks no permission."""
    found = _look(world, named, builds_of)
    return found[0] if found is not None and found[2] else None


def _look(world: World, named: str, builds_of: Project | None) -> tuple[str, str, bool] | None:
    """Return an account's address, its resource ("" if no permission is needed), and whether it is active."""
    match = _NAME.fullmatch(named)
    if match is None:
        return None
    project, account = match["project"] or "-", match["account"].lower()
    if builds_of is not None and account == BUILD_ACCOUNT.format(number=builds_of.number):
        return (account, "", True) if project in ("-", builds_of.id, builds_of.number) else None
    with world.reading() as rows:
        resource = policies.canonical(rows, f"projects/{project}/serviceAccounts/{account}")
        email = resource.rpartition("/")[2]
        exists = _exists(rows, resource)
        active = standing.is_active(rows, f"serviceAccount:{email}")
    return (email, resource, active) if exists else None


def _exists(rows: sqlite3.Connection, resource: str) -> bool:
    """Return whether a canonical name is that of an existing account, in the right project."""
    _, project, _, email = resource.split("/")
    if project == "-":
        return False
    row = rows.execute("SELECT project FROM service_accounts WHERE email = ?", (email,)).fetchone()
    return row["project"] == project if row else service_account_exists(rows, email)
