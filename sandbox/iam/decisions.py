"""May this member do that? One pure function, used by every API and by the registry.

A member has a permission on a resource when a policy on the resource, or on one of its ancestors, binds the member to
a role that holds the permission. Policies only ever grant: there is no order and no "deny" among them.
Source: https://cloud.google.com/iam/docs/policies and https://cloud.google.com/iam/docs/resource-hierarchy-access-control
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ALL_USERS = "allUsers"
ALL_AUTHENTICATED_USERS = "allAuthenticatedUsers"

# role name -> permissions
Roles = Mapping[str, frozenset[str]]
# `group:EMAIL` -> its members, each with its prefix
Groups = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Binding:
    """One role for some members."""

    role: str
    members: frozenset[str]


@dataclass(frozen=True)
class Policy:
    """The bindings of one resource."""

    bindings: tuple[Binding, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Policy:
        """From Google's JSON; what is missing is empty."""
        bindings = body.get("bindings", ())
        return cls(tuple(Binding(entry.get("role", ""), frozenset(entry.get("members", ()))) for entry in bindings))


@dataclass(frozen=True)
class Grant:
    """Why something is allowed: on this resource, this entry of a binding gave this role."""

    resource: str
    role: str
    member: str


@dataclass(frozen=True)
class Looked:
    """One binding that was looked at.

    Attributes:
        names_member: the binding is about who asked, by name, group, domain or as anybody.
        holds_permission: its role holds the permission.
    """

    resource: str
    binding: Binding
    names_member: bool
    holds_permission: bool


@dataclass(frozen=True)
class Decision:
    """The answer, and the why.

    Attributes:
        resource: what was asked about.
        granted_by: every way in which it is granted; empty when it is denied.
        looked_at: every binding on the resource and its ancestors, nearest first.
        roles: those that were known.
    """

    allowed: bool
    member: str
    permission: str
    resource: str
    granted_by: tuple[Grant, ...]
    looked_at: tuple[Looked, ...]
    roles: Roles = field(repr=False, compare=False)

    # Found when somebody asks why: most decisions are made for a request that only asks whether.
    @functools.cached_property
    def would_grant(self) -> tuple[str, ...]:
        """Predefined roles that hold the permission, smallest first."""
        return holders(self.permission, self.roles)

    @functools.cached_property
    def smallest(self) -> str:
        """The smallest predefined role to give to somebody who needs the permission; see `smallest`."""
        return smallest(self.permission, self.roles)


def expand(group: str, groups: Groups) -> frozenset[str]:
    """Everybody in a group, and in the groups inside it."""
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
    """Whether a binding's entry is about a member.

    Identities of a pool are not among `allAuthenticatedUsers`:
    https://cloud.google.com/iam/docs/principals-overview#all-authenticated-users

    Args:
        entry: `user:`, `serviceAccount:`, `group:` or `domain:` with an address, `allUsers`, `allAuthenticatedUsers`,
            `principal://…`, `principalSet://…`.
        member: who asks; empty for an anonymous caller, who is in `allUsers` alone. An identity of a pool is several
            lines, as `Principal` has it.
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
    # A domain holds the people of a Workspace account; service accounts are not among them.
    return kind == "domain" and member.startswith("user:") and member.endswith(f"@{name}")


def is_basic(role: str) -> bool:
    """Owner, editor and viewer: roles over a whole project."""
    return role.startswith("roles/") and "." not in role


def is_for_agents(role: str) -> bool:
    """Roles that Google gives to its own service agents and to nobody else."""
    return role.lower().endswith(".serviceagent")


def holders(permission: str, roles: Roles) -> tuple[str, ...]:
    """Return the predefined roles that hold a permission, those with the fewest permissions first."""
    found = [name for name, held in roles.items() if name.startswith("roles/") and permission in held]
    return tuple(sorted(found, key=lambda name: (len(roles[name]), name)))


def smallest(permission: str, roles: Roles) -> str:
    """Return the smallest predefined role to give to somebody who needs a permission.

    Empty when only basic roles have it.
    """
    fit = (name for name in holders(permission, roles) if not is_basic(name) and not is_for_agents(name))
    return next(fit, "")


def decide(
    member: str, permission: str, policies: Sequence[tuple[str, Policy]], roles: Roles, groups: Groups
) -> Decision:
    """Whether a member has a permission on a resource.

    Args:
        member: with its prefix, `serviceAccount:ci@p.iam.gserviceaccount.com`; empty for an anonymous caller.
        policies: (resource name, policy) of the resource itself and of its ancestors, nearest first.
        roles: predefined and custom roles; a role that is not in it grants nothing.

    Raises:
        ValueError: without any resource.
    """
    if not policies:
        raise ValueError("decide needs the policy of the resource, be it an empty one")
    granted: list[Grant] = []
    looked: list[Looked] = []
    for resource, policy in policies:
        for binding in policy.bindings:
            entries = sorted(entry for entry in binding.members if matches(entry, member, groups))
            holds = permission in roles.get(binding.role, frozenset())
            looked.append(Looked(resource, binding, bool(entries), holds))
            if holds:
                granted.extend(Grant(resource, binding.role, entry) for entry in entries)
    return Decision(
        allowed=bool(granted),
        member=member.partition("\n")[0],
        permission=permission,
        resource=policies[0][0],
        granted_by=tuple(granted),
        looked_at=tuple(looked),
        roles=roles,
    )
