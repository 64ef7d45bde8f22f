"""Policies, roles and service accounts through Google's public APIs. REST, with the default credentials.

A policy is read, changed and written back whole, with its etag, so that no other change is lost.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from google.api_core import exceptions

from helpers import names
from helpers.target import LABEL
from helpers.transport import rest

_IAM: Final = "https://iam.googleapis.com/v1"
_ATTEMPTS: Final = 6
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True, order=True)
class ServiceAccount:
    """A service account of a project. `str()` returns its e-mail address."""

    project: names.Project
    id: str

    def __str__(self) -> str:
        return f"{self.id}@{self.project}.iam.gserviceaccount.com"

    @property
    def resource(self) -> str:
        """`projects/PROJECT/serviceAccounts/ADDRESS`."""
        return f"{self.project.resource}/serviceAccounts/{self}"

    @property
    def member(self) -> str:
        """The account as a policy names it: `serviceAccount:ADDRESS`."""
        return f"serviceAccount:{self}"


Resource = names.Project | names.Repository | ServiceAccount


@dataclass(frozen=True)
class Binding:
    """One role for one member on one resource. `conditional` is whether it has a condition."""

    resource: str
    role: str
    member: str
    conditional: bool = False


def bindings(resource: Resource) -> tuple[Binding, ...]:
    """Return the resource's own policy, one entry per role and member, sorted.

    Raises google.api_core.exceptions.Forbidden without the right to read the policy, NotFound.
    """
    found = [
        Binding(resource.resource, entry["role"], member, "condition" in entry)
        for entry in _read(resource).get("bindings", [])
        for member in entry.get("members", [])
    ]
    return tuple(sorted(found, key=lambda one: (one.role, one.member)))


def grant(resource: Resource, role: str, member: str) -> bool:
    """Grant a member a role on the resource. Return False if the member has it already.

    When somebody else has changed the policy meanwhile, it is read and changed again.
    Raises google.api_core.exceptions.BadRequest for an unknown role or a member who doesn't exist, Forbidden,
    NotFound.
    """

    def add(policy: dict[str, Any]) -> bool:
        entry = next(
            (one for one in policy.get("bindings", []) if one["role"] == role and "condition" not in one), None
        )
        if entry is None:
            entry = {"role": role, "members": []}
            policy.setdefault("bindings", []).append(entry)
        if member in entry["members"]:
            return False
        entry["members"].append(member)
        return True

    return _change(resource, add)


def revoke(resource: Resource, role: str, member: str) -> bool:
    """Revoke a member's role on the resource. Return False if the member didn't have it. Raises as `grant`."""
    return _change(resource, lambda policy: _drop(policy, member, role))


def revoke_all(resource: Resource, member: str) -> bool:
    """Revoke all of a member's roles on the resource. Return False if there were none. Raises as `grant`."""
    return _change(resource, lambda policy: _drop(policy, member, ""))


def permitted(resource: Resource, *permissions: str, credentials: Any = None) -> tuple[str, ...]:
    """Return those of the permissions that the caller has, from Google's testIamPermissions.

    `credentials` makes the call as somebody else, for example with `identity.as_service_account(...)`.
    Raises google.api_core.exceptions.GoogleAPICallError, and google.auth.exceptions.RefreshError for bad credentials.
    """
    found = rest.call(
        "POST", f"{_url(resource)}:testIamPermissions", credentials=credentials, json={"permissions": permissions}
    )
    held = set(found.get("permissions", []))
    return tuple(permission for permission in permissions if permission in held)


def _drop(policy: dict[str, Any], member: str, role: str) -> bool:
    changed = False
    for entry in policy.get("bindings", []):
        if role in ("", entry["role"]) and member in entry.get("members", []):
            entry["members"].remove(member)
            changed = True
    policy["bindings"] = [entry for entry in policy.get("bindings", []) if entry.get("members")]
    return changed


def _change(resource: Resource, edit: Callable[[dict[str, Any]], bool]) -> bool:
    for attempt in range(1, _ATTEMPTS + 1):
        policy = _read(resource)
        if not edit(policy):
            return False
        try:
            rest.call("POST", f"{_url(resource)}:setIamPolicy", json={"policy": policy})
        except exceptions.Conflict:
            if attempt == _ATTEMPTS:
                raise
            time.sleep(0.1 * 2**attempt)
        else:
            return True
    raise AssertionError("the last attempt returns or raises")


def _read(resource: Resource) -> dict[str, Any]:
    # Only version 3 has conditions, which writing the policy back would lose otherwise.
    version = "options.requestedPolicyVersion=3"
    match resource:
        case names.Repository():
            return rest.call("GET", f"{_url(resource)}:getIamPolicy?{version}")
        case names.Project():
            return rest.call("POST", f"{_url(resource)}:getIamPolicy", json={"options": {"requestedPolicyVersion": 3}})
        case _:
            return rest.call("POST", f"{_url(resource)}:getIamPolicy?{version}")


def _url(resource: Resource) -> str:
    match resource:
        case names.Repository():
            return f"https://artifactregistry.googleapis.com/v1/{resource.resource}"
        case names.Project():
            return f"https://cloudresourcemanager.googleapis.com/v1/{resource.resource}"
        case _:
            return f"{_IAM}/{resource.resource}"


# --- roles ------------------------------------------------------------------------------------------------------------


def permissions_of(role: str) -> frozenset[str]:
    """Return the permissions in a role, or none for a role that doesn't exist or that you may not see."""
    try:
        return _predefined(role) if role.startswith("roles/") else _included(role)
    except (exceptions.NotFound, exceptions.Forbidden):
        return frozenset()


def roles_with(*permissions: str) -> tuple[str, ...]:
    """Return the predefined roles of the permissions' service that include them all, the smallest role first.

    Roles for Google's own service agents are left out.
    """
    service = permissions[0].partition(".")[0]
    family = [one for one in _role_names() if one.startswith(f"roles/{service}.") and not is_for_agents(one)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        held = dict(zip(family, pool.map(permissions_of, family), strict=True))
    fit = [one for one in family if held[one].issuperset(permissions)]
    return tuple(sorted(fit, key=lambda one: (len(held[one]), one)))


def _included(role: str) -> frozenset[str]:
    return frozenset(rest.call("GET", f"{_IAM}/{role}").get("includedPermissions", []))


@functools.cache
def _predefined(role: str) -> frozenset[str]:
    return _included(role)


@functools.cache
def _role_names() -> tuple[str, ...]:
    return tuple(role["name"] for role in rest.pages(f"{_IAM}/roles", "roles", pageSize="1000"))


def is_for_agents(role: str) -> bool:
    """Return whether the role is only for Google's own service agents."""
    return role.lower().endswith("serviceagent")


# --- service accounts -------------------------------------------------------------------------------------------------


def account(project: names.Project, purpose: str, run: str) -> ServiceAccount:
    """Return the service account of a run for a purpose: `wb-PURPOSE-` and six hexadecimal digits.

    An id has at most 30 characters, too few for the run's id, so the digits are the beginning of its SHA-256.
    """
    return ServiceAccount(project, f"wb-{purpose}-{hashlib.sha256(run.encode()).hexdigest()[:6]}")


def account_exists(which: ServiceAccount) -> bool:
    """Return whether the service account exists. Other refusals (a disabled API, a missing permission) are raised."""
    return rest.find(f"{_IAM}/{which.resource}") is not None


def create_account(which: ServiceAccount, run: str, display_name: str = "") -> None:
    """Create the service account. Its description has the run's label, since accounts have no labels.

    Raises google.api_core.exceptions.Conflict when it exists, Forbidden without the right or the API.
    """
    details = {"displayName": display_name, "description": f"{LABEL}={run}"}
    body = {"accountId": which.id, "serviceAccount": details}
    rest.call("POST", f"{_IAM}/{which.project.resource}/serviceAccounts", json=body)


def delete_account(which: ServiceAccount) -> None:
    """Delete the service account. Revoke its roles first: policies keep a deleted member as `deleted:…`.

    Raises google.api_core.exceptions.NotFound.
    """
    rest.call("DELETE", f"{_IAM}/{which.resource}")
