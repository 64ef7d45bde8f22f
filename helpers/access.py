"""Compute who may do what in a repository, and why, from the policies and roles in Google's public API.

The API lacks the members of groups, and the roles granted on folders and organisations above a project.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import requests

from helpers import names
from helpers.iam import (
    Binding,
    Resource,
    ServiceAccount,
    account,
    account_exists,
    bindings,
    create_account,
    delete_account,
    grant,
    is_for_agents,
    permissions_of,
    permitted,
    revoke,
    revoke_all,
    roles_with,
)

__all__ = [
    "COLUMNS",
    "PUBLIC",
    "READER",
    "REPO_ADMIN",
    "TASKS",
    "TOKEN_CREATOR",
    "WRITER",
    "Binding",
    "Finding",
    "Looked",
    "Rights",
    "ServiceAccount",
    "Why",
    "account",
    "account_exists",
    "anyone_can_pull",
    "bindings",
    "create_account",
    "delete_account",
    "explain",
    "grant",
    "permissions_of",
    "permitted",
    "revoke",
    "revoke_all",
    "rights",
    "roles_with",
    "who_can_push",
    "wider_than_needed",
]

READER: Final = "roles/artifactregistry.reader"
WRITER: Final = "roles/artifactregistry.writer"
REPO_ADMIN: Final = "roles/artifactregistry.repoAdmin"
TOKEN_CREATOR: Final = "roles/iam.serviceAccountTokenCreator"  # noqa: S105 - a role's name, no secret
PUBLIC: Final = ("allUsers", "allAuthenticatedUsers")
_PREFIX: Final = "roles/artifactregistry."

# Tasks in a repository with their permissions, from https://cloud.google.com/artifact-registry/docs/access-control.
# `docker push` moves a tag.
TASKS: Final[Mapping[str, frozenset[str]]] = {
    task: frozenset(f"artifactregistry.{permission}" for permission in permissions.split())
    for task, permissions in {
        "pull": "repositories.downloadArtifacts",
        "push": "repositories.downloadArtifacts repositories.uploadArtifacts tags.create",
        "move tag": "repositories.uploadArtifacts tags.update",
        "delete": "repositories.deleteArtifacts tags.delete versions.delete",
        "administer": "repositories.getIamPolicy repositories.setIamPolicy",
    }.items()
}
COLUMNS: Final = ("principal", *TASKS)


@dataclass(frozen=True)
class Looked:
    """A binding, and why it does or doesn't grant the permission."""

    binding: Binding
    names_member: bool
    holds_permission: bool

    def __str__(self) -> str:
        who = "names it" if self.names_member else "names somebody else"
        what = "holds the permission" if self.holds_permission else "lacks the permission"
        when = "; has a condition, so it isn't counted" if self.binding.conditional else ""
        # Two lines, because a role and an account together are wider than a screen.
        return f"{self.binding.role}: {who}, {what}{when}\n    for {self.binding.member}"


@dataclass(frozen=True)
class Why:
    """Whether a member has a permission on a resource, and why.

    `would_grant` are the predefined roles of the permission's service that include it, the smallest role first.
    """

    member: str
    permission: str
    resource: str
    looked_at: tuple[Looked, ...]
    would_grant: tuple[str, ...]

    @property
    def granted_by(self) -> tuple[Binding, ...]:
        """The bindings that grant it."""
        return tuple(
            one.binding
            for one in self.looked_at
            if one.names_member and one.holds_permission and not one.binding.conditional
        )

    @property
    def allowed(self) -> bool:
        """Whether a binding grants it."""
        return bool(self.granted_by)

    @property
    def smallest(self) -> str:
        """The smallest predefined role that would grant it, or "" when only basic roles do."""
        return next(iter(self.would_grant), "")

    def __str__(self) -> str:
        lines = [f"{'allowed' if self.allowed else 'denied'}: {self.permission}"]
        for place in dict.fromkeys(one.binding.resource for one in self.looked_at):
            lines.append(f"on {place}")
            lines += [f"  {one}" for one in self.looked_at if one.binding.resource == place]
        if not self.looked_at:
            lines.append(f"no binding on {self.resource}, nor on what it is in")
        if not self.allowed:
            lines += ["roles that hold it, the smallest first:", *(f"  {role}" for role in self.would_grant)]
        return "\n".join(lines)


@dataclass(frozen=True)
class Rights:
    """Which of `TASKS` a principal may do in a repository."""

    principal: str
    tasks: Mapping[str, bool]

    @property
    def row(self) -> tuple[str, ...]:
        """The cells under `COLUMNS`."""
        return (self.principal, *("yes" if may else "-" for may in self.tasks.values()))


@dataclass(frozen=True)
class Finding:
    """A binding that is wider than needed. `instead` is the narrower grant, or "" if it isn't needed at all."""

    binding: Binding
    reason: str
    instead: str

    def __str__(self) -> str:
        cure = f"grant {self.instead} instead" if self.instead else "take it away"
        return f"{self.binding.role} for {self.binding.member} on {self.binding.resource}: {self.reason}; {cure}"


def explain(member: str, permission: str, resource: Resource) -> Why:
    """Return whether and why a member has a permission, from the policies of the resource and its project.

    A group's binding is applied only to the group itself, not to its members. Raises as `bindings`.
    """
    looked = [
        Looked(binding, _is_about(binding.member, member), permission in permissions_of(binding.role))
        for binding in _inherited(resource)
    ]
    return Why(member, permission, resource.resource, tuple(looked), roles_with(permission))


def rights(repository: names.Repository, *also: str) -> tuple[Rights, ...]:
    """Return what each member of the repository's and the project's policies may do in the repository.

    `also` adds principals. Google's own service agents are left out. Raises as `bindings`.
    """
    found = _inherited(repository)
    members = {one.member for one in found if not is_for_agents(one.role)} | set(also)
    return tuple(
        Rights(member, {task: needed <= _held(found, member) for task, needed in TASKS.items()})
        for member in sorted(members)
    )


def who_can_push(repository: names.Repository) -> tuple[str, ...]:
    """Return the principals that may push to the repository, sorted. Raises as `bindings`."""
    return tuple(one.principal for one in rights(repository) if one.tasks["push"])


def wider_than_needed(
    repository: names.Repository, needed: Mapping[str, Collection[str]] | None = None
) -> tuple[Finding, ...]:
    """Return the bindings on the repository and its project that grant more in this repository than needed.

    These are basic roles, public access, and roles of Artifact Registry that exceed the member's tasks or reach beyond
    the repository. `needed` maps members to tasks of `TASKS`. A service account without an entry is assumed to push
    and pull.
    Raises as `bindings`, and KeyError for an unknown task.
    """
    found = []
    for binding in _inherited(repository):
        finding = _evaluate(binding, repository, dict(needed or {}))
        if finding is not None:
            found.append(finding)
    return tuple(found)


def anyone_can_pull(image: names.Image) -> bool:
    """Return whether the registry serves the image's tags to a client without credentials.

    Raises requests.RequestException.
    """
    repository = image.repository
    path = f"{repository.project}/{repository.id}/{image.path}"
    base = f"https://{repository.location.host}/v2"
    query = {"service": repository.location.host, "scope": f"repository:{path}:pull"}
    answer = requests.get(f"{base}/token", params=query, timeout=60)
    if answer.status_code != 200:
        return False
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    return requests.get(f"{base}/{path}/tags/list", headers=headers, timeout=60).status_code == 200


def _inherited(resource: Resource) -> tuple[Binding, ...]:
    above = () if isinstance(resource, names.Project) else bindings(resource.project)
    return (*bindings(resource), *above)


def _is_about(entry: str, member: str) -> bool:
    if entry == "allUsers" or entry.lower() == member.lower():
        return True
    if not member or member in PUBLIC:
        return False
    kind, _, name = entry.partition(":")
    return entry == "allAuthenticatedUsers" or (
        kind == "domain" and member.startswith("user:") and member.endswith(f"@{name}")
    )


def _held(found: Iterable[Binding], member: str) -> frozenset[str]:
    roles = {one.role for one in found if _is_about(one.member, member) and not one.conditional}
    return frozenset().union(*(permissions_of(role) for role in roles))


def _evaluate(binding: Binding, repository: names.Repository, needed: dict[str, Collection[str]]) -> Finding | None:
    role, member = binding.role, binding.member
    held = permissions_of(role)
    here = any(permissions & held for permissions in TASKS.values())
    may = [task for task, permissions in TASKS.items() if permissions <= held]
    if not here or not (role.startswith(_PREFIX) or _is_basic(role)) or is_for_agents(role):
        return None
    if member in PUBLIC:
        anybody = "anybody on the internet" if member == "allUsers" else "anybody with a Google account"
        instead = f"{READER} to those who pull" if may == ["pull"] else ""
        return Finding(binding, f"{anybody} may {' and '.join(may) or 'look'}", instead)
    tasks = needed.get(member)
    if tasks is None and member.startswith("serviceAccount:") and not _is_basic(role):
        tasks = [task for task in ("pull", "push", "move tag") if task in may]
    if tasks is None:
        tasks = may
    narrow = _narrowest(tasks)
    where = "" if role == narrow and binding.resource == repository.resource else f"{narrow} on {repository.resource}"
    if _is_basic(role):
        return Finding(binding, "a basic role reaches everything in the project", where if narrow else "")
    if narrow and len(permissions_of(narrow)) < len(held):
        return Finding(binding, f"more than it takes to {' and '.join(tasks)}", where)
    if binding.resource != repository.resource:
        return Finding(binding, "it reaches every repository of the project", where)
    return None if narrow else Finding(binding, "nothing here needs it", "")


def _narrowest(tasks: Iterable[str]) -> str:
    wanted = frozenset().union(*(TASKS[task] for task in tasks))
    return next(iter(roles_with(*wanted)), "") if wanted else ""


def _is_basic(role: str) -> bool:
    return role in ("roles/owner", "roles/editor", "roles/viewer")
