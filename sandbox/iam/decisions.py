"""Decide whether a member has a permission on a resource, from policies and roles alone.

A member has a permission on a resource if a policy on the resource, or on one of its ancestors, binds the member to
a role that holds the permission. Policies only grant, so their order does not matter.
Source: https://cloud.google.com/iam/docs/policies and https://cloud.google.com/iam/docs/resource-hierarchy-access-control
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ALL_USERS = "allUsers"
ALL_AUTHENTICATED_USERS = "allAuthenticatedUsers"

# role name -> permissions
Roles = Mapping[str, frozenset[str]]
# `group:EMAIL` -> its members, each with its prefix
Groups = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Binding:
    """One role and the members that a policy binds to it."""

    role: str
    members: frozenset[str]


@dataclass(frozen=True)
class Policy:
    """The bindings of one resource."""

    bindings: tuple[Binding, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Policy:
        """Read Google's JSON; a missing field is empty."""
        bindings = body.get("bindings", ())
        return cls(tuple(Binding(entry.get("role", ""), frozenset(entry.get("members", ()))) for entry in bindings))


@dataclass(frozen=True)
class Grant:
    """One reason why a call is allowed: the policy of `resource` binds `member` to `role`."""

    resource: str
    role: str
    member: str


@dataclass(frozen=True)
class Decision:
    """Whether a member has a permission on a resource, and why.

    Attributes:
        granted_by: every grant of the permission; empty when it is denied.
    """

    resource: str
    granted_by: tuple[Grant, ...]

    @property
    def allowed(self) -> bool:
        """Whether at least one grant holds the permission."""
        return bool(self.granted_by)


def expand(group: str, groups: Groups) -> frozenset[str]:
    """Return the members of a group and of the groups nested in it."""
    found: set[str] = set()
    waiting = [group]
    seen: set[str] = set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for member in groups.get(current, ()):
            if member.startswith("group:"):
                waiting.append(member)
            else:
                found.add(member)
    return frozenset(found)


def matches(entry: str, member: str, groups: Groups) -> bool:
    """Return whether an entry of a binding includes a member.

    Identities of a pool are not among `allAuthenticatedUsers`:
    https://cloud.google.com/iam/docs/principals-overview#all-authenticated-users

    Args:
        entry: `user:`, `serviceAccount:`, `group:` or `domain:` with an address, `allUsers`, `allAuthenticatedUsers`,
            `principal://…`, `principalSet://…`.
        member: the caller; empty for an anonymous one, which only `allUsers` includes. An identity of a pool has
            several lines, as in `Principal.member`.
    """
    if entry == ALL_USERS:
        return True
    if not member:
        return False
    if member.startswith("principal://"):
        return entry in member.split("\n")
    if entry in (ALL_AUTHENTICATED_USERS, member):
        return True
    kind, _, name = entry.partition(":")
    if kind == "group":
        return member in expand(entry, groups)
    # A domain includes the people of a Workspace account, and no service accounts.
    return kind == "domain" and member.startswith("user:") and member.endswith(f"@{name}")


def decide(
    member: str, permission: str, policies: Sequence[tuple[str, Policy]], roles: Roles, groups: Groups
) -> Decision:
    """Decide whether a member has a permission on a resource.

    Args:
        member: with its prefix, `serviceAccount:ci@p.iam.gserviceaccount.com`; empty for an anonymous caller.
        policies: (resource name, policy) of the resource itself and of its ancestors, nearest first.
        roles: predefined and custom roles; a role that is missing here grants nothing.

    Raises:
        ValueError: if `policies` is empty.
    """
    if not policies:
        raise ValueError("decide needs the policy of the resource, be it an empty one")
    granted = [
        Grant(resource, binding.role, entry)
        for resource, policy in policies
        for binding in policy.bindings
        if permission in roles.get(binding.role, frozenset())
        for entry in sorted(binding.members)
        if matches(entry, member, groups)
    ]
    return Decision(policies[0][0], tuple(granted))
