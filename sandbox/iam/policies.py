"""Stored policies, and decisions by them.

A resource is a Google resource name without host: `projects/P`, `projects/P/locations/L/repositories/R`,
`projects/P/serviceAccounts/EMAIL`. The policies of its ancestors apply to it too.

In a slow sandbox (`sandbox.state.pace`) a changed policy can be read immediately, and takes effect later. Until then
the previous policy decides.
"""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.iam.v1.policy_pb2 import Policy as PolicyMessage

from sandbox.api import messages
from sandbox.errors import ApiError, conflict, invalid, unimplemented
from sandbox.iam import decisions, members, roles
from sandbox.iam.decisions import Decision, Policy
from sandbox.state.clock import timestamp
from sandbox.state.world import World

# The etag that Google returns for a resource whose policy was never set.
EMPTY_ETAG = "ACAB"

# https://cloud.google.com/iam/quotas: principals in one policy, all bindings together
MAX_MEMBERS = 1500


def decide(world: World, member: str, permission: str, resource: str) -> Decision:
    """Decide whether a member has a permission on a resource.

    Args:
        member: with its prefix; empty for an anonymous caller, who matches only `allUsers`.
        resource: for a service account also `projects/-/serviceAccounts/EMAIL_OR_UNIQUE_ID`.
    """
    with world.reading() as rows:
        resource = canonical(rows, resource)
        written = [(name, _stored(rows, name)[0]) for name in ancestry(resource)]
        if not permission.startswith("resourcemanager.") and _is_being_deleted(rows, resource):
            # unverified: that policies of such a project only allow to read and to undelete the project itself
            written = [(name, {}) for name, _ in written]
        eventual = _decided(rows, member, permission, written)
        in_effect = _in_effect(rows, world, written)
        if in_effect == written:
            return eventual
        decision = _decided(rows, member, permission, in_effect)
    if decision.allowed != eventual.allowed:
        world.nudge_clock()
    return decision


_Written = list[tuple[str, dict[str, Any]]]


def _decided(rows: sqlite3.Connection, member: str, permission: str, written: _Written) -> Decision:
    policies = [(name, Policy.of(policy)) for name, policy in written]
    known = _roles(rows, {binding.role for _, policy in policies for binding in policy.bindings})
    return decisions.decide(member, permission, policies, known, members.GROUPS)


def _in_effect(rows: sqlite3.Connection, world: World, written: _Written) -> _Written:
    """Return the policies without the changes that are not in effect yet."""
    if not world.pace.propagation:
        return written
    moment = timestamp(world.now() - world.pace.propagation)
    statement = "SELECT policy FROM past_policies WHERE resource = ? AND until > ? ORDER BY rowid LIMIT 1"
    found = [(name, policy, rows.execute(statement, (name, moment)).fetchone()) for name, policy in written]
    return [(name, json.loads(row["policy"]) if row else policy) for name, policy, row in found]


def _is_being_deleted(rows: sqlite3.Connection, resource: str) -> bool:
    kind, _, rest = resource.partition("/")
    if kind != "projects":
        return False
    row = rows.execute("SELECT state FROM projects WHERE id = ?", (rest.partition("/")[0],)).fetchone()
    return row is not None and row["state"] != "ACTIVE"


def test_permissions(world: World, member: str, resource: str, wanted: Iterable[str]) -> list[str]:
    """Return the wanted permissions that the member has, in their order.

    Raises:
        ApiError: INVALID_ARGUMENT for a wildcard, by the API's reference.
    """
    wanted = list(wanted)
    if any("*" in permission for permission in wanted):
        raise invalid("Permissions with wildcards (such as '*' or 'storage.*') are not allowed.")
    return [permission for permission in wanted if decide(world, member, permission, resource).allowed]


def canonical(rows: sqlite3.Connection, resource: str) -> str:
    """Return the resource name; a service account's with its project's id and its e-mail address.

    A project that is not the account's becomes `-`, which has no policy, so that project's owner gains nothing.
    Google's agents belong to Google's projects, so theirs is always `-`.
    """
    parts = resource.split("/")
    if len(parts) < 4 or parts[0] != "projects" or parts[2] != "serviceAccounts":
        return resource
    row = rows.execute(
        "SELECT project, email, number FROM service_accounts JOIN projects ON projects.id = project"
        " WHERE email = ? OR unique_id = ?",
        (parts[3], parts[3]),
    ).fetchone()
    if row is not None:
        project, email, number = row["project"], row["email"], row["number"]
    elif members.is_googles(parts[3]):
        email = parts[3]
        number = email.removesuffix(members.COMPUTE_ACCOUNT.format(number=""))
        project = (members.made_for(rows, email) or "-") if number != email else "-"
    else:
        return resource
    owner = project if parts[1] in ("-", project, number) else "-"
    return "/".join(["projects", owner, "serviceAccounts", email, *parts[4:]])


def ancestry(resource: str) -> list[str]:
    """Return a resource and its ancestors: `projects/P/locations/L/repositories/R` down to `projects/P`."""
    parts = resource.split("/")
    pairs = range(len(parts) - len(parts) % 2, 0, -2)
    return [resource, *(name for end in pairs if (name := "/".join(parts[:end])) != resource)]


def get_policy(rows: sqlite3.Connection, resource: str) -> dict[str, Any]:
    """Return a resource's own policy in Google's form.

    A policy that was never set has only an etag; one that was emptied also has a version: recorded traffic,
    facts/artifact-registry.md 1.6 and a flight of 2023-08-09.
    """
    policy, etag = _stored(rows, canonical(rows, resource))
    answer = {"etag": etag} if etag == EMPTY_ETAG else {"version": 1, "etag": etag}
    return {**answer, "bindings": policy["bindings"]} if policy.get("bindings") else answer


def set_policy(
    world: World, resource: str, policy: Mapping[str, Any], exists: Callable[[], object] | None = None
) -> dict[str, Any]:
    """Replace a resource's policy, and return the new one.

    Args:
        policy: Google's Policy as JSON; an `etag` in it must be the current one.
        exists: raises if the resource does not exist. Called in the transaction that stores the policy: a policy that
            outlived its resource would apply to the next resource of that name.

    Raises:
        ApiError: ABORTED (409) if another caller changed the policy since it was read; INVALID_ARGUMENT for a
            version other than 0, 1 and 3, an unknown role, a member that does not exist, or a condition;
            UNIMPLEMENTED for audit configurations.
    """
    parsed = messages.parse(PolicyMessage, dict(policy), "policy")
    if parsed.version not in (0, 1, 3):
        raise invalid(f"Policy version {parsed.version} is not valid. Use 1, or 3 for a policy with conditions.")
    if parsed.audit_configs:
        raise unimplemented("audit configurations in a policy")
    given_etag = _etag_bytes(policy.get("etag"))
    with world.writing() as rows:
        if exists is not None:
            exists()
        resource = canonical(rows, resource)
        before, etag = _stored(rows, resource)
        if given_etag and given_etag != base64.b64decode(etag):
            raise conflict()
        merged: dict[str, set[str]] = {}
        for binding, given in zip(parsed.bindings, policy.get("bindings") or (), strict=True):
            if given.get("condition") is not None:
                raise invalid(
                    f"The workbook's sandbox knows no conditions: remove the condition from the binding of "
                    f"{binding.role}, or grant the role on a smaller resource instead."
                )
            _check_role(rows, resource, binding.role)
            kept = {member for entry in before.get("bindings", []) for member in entry["members"]}
            named = {_check_member(rows, resource, member, kept) for member in binding.members}
            merged.setdefault(binding.role, set()).update(named)
        if sum(map(len, merged.values())) > MAX_MEMBERS:
            raise invalid(f"The policy names more than {MAX_MEMBERS} principals.")
        _check_owner(resource, before, merged)
        _remember(rows, world, resource, before)
        _store(rows, world, resource, merged)
        return get_policy(rows, resource)


def grant(rows: sqlite3.Connection, world: World, resource: str, role: str, member: str) -> None:
    """Grant one role to one member, unchecked and in effect immediately, whatever the pace.

    For a new world, and for roles that Google grants by itself.
    """
    policy, _ = _stored(rows, resource)
    _store(rows, world, resource, _with(policy, role, member))
    statement = "SELECT rowid, policy FROM past_policies WHERE resource = ?"
    for row in rows.execute(statement, (resource,)).fetchall():
        past = json.dumps(_body(_with(json.loads(row["policy"]), role, member)))
        rows.execute("UPDATE past_policies SET policy = ? WHERE rowid = ?", (past, row["rowid"]))


def _with(policy: Mapping[str, Any], role: str, member: str) -> dict[str, set[str]]:
    bindings = {entry["role"]: set(entry["members"]) for entry in policy.get("bindings", [])}
    bindings.setdefault(role, set()).add(member)
    return bindings


def _remember(rows: sqlite3.Connection, world: World, resource: str, before: Mapping[str, Any]) -> None:
    """Keep a replaced policy for as long as it is still in effect."""
    if not world.pace.propagation:
        return
    now = world.now()
    rows.execute("DELETE FROM past_policies WHERE until <= ?", (timestamp(now - world.pace.propagation),))
    rows.execute("INSERT INTO past_policies VALUES (?, ?, ?)", (resource, json.dumps(before), timestamp(now)))


def forget(rows: sqlite3.Connection, resource: str) -> None:
    """Delete the policies of a resource and its descendants, when it is created or deleted."""
    prefix = f"{resource}/"
    for table in ("policies", "past_policies"):
        rows.execute(
            f"DELETE FROM {table} WHERE resource = ? OR substr(resource, 1, ?) = ?",  # noqa: S608 - one of two names
            (resource, len(prefix), prefix),
        )


def forget_member(rows: sqlite3.Connection, world: World, email: str, unique_id: str) -> None:
    """Mark a deleted service account in every policy, so that a new one of the same name inherits nothing.

    Source: https://cloud.google.com/iam/docs/principal-identifiers (deleted service accounts).
    """
    gone, mark = f"serviceAccount:{email}", f"deleted:serviceAccount:{email}?uid={unique_id}"
    for row in rows.execute("SELECT resource, policy FROM policies").fetchall():
        bindings = {entry["role"]: set(entry["members"]) for entry in json.loads(row["policy"]).get("bindings", [])}
        if any(gone in named for named in bindings.values()):
            renamed = {role: {mark if name == gone else name for name in named} for role, named in bindings.items()}
            _store(rows, world, row["resource"], renamed)


def _stored(rows: sqlite3.Connection, resource: str) -> tuple[dict[str, Any], str]:
    row = rows.execute("SELECT policy, etag FROM policies WHERE resource = ?", (resource,)).fetchone()
    return (json.loads(row["policy"]), row["etag"]) if row else ({}, EMPTY_ETAG)


def _store(rows: sqlite3.Connection, world: World, resource: str, bindings: Mapping[str, set[str]]) -> None:
    _, before = _stored(rows, resource)
    rows.execute(
        "INSERT OR REPLACE INTO policies (resource, policy, etag) VALUES (?, ?, ?)",
        (resource, json.dumps(_body(bindings)), _next_etag(world, before)),
    )


def _body(bindings: Mapping[str, set[str]]) -> dict[str, Any]:
    return {"bindings": [{"role": role, "members": sorted(named)} for role, named in sorted(bindings.items()) if named]}


def _etag_bytes(text: Any) -> bytes:
    # Protobuf's JSON reader ignores characters that are not base64, so it would ignore a wrong etag.
    if not text:
        return b""
    try:
        return base64.b64decode(str(text).translate({45: "+", 95: "/"}) + "=" * (-len(str(text)) % 4), validate=True)
    except binascii.Error:
        raise invalid(f"Invalid value at 'policy.etag' (TYPE_BYTES), Base64 decoding failed for \"{text}\"") from None


def _next_etag(world: World, before: str) -> str:
    # Google's etags are a 7 and the time of the change in microseconds; no two changes share one.
    moment = (7 << 56) + int(world.now().timestamp() * 10**6)
    last = int.from_bytes(base64.b64decode(before))
    return base64.b64encode(max(moment, last + 1).to_bytes(8)).decode()


def _roles(rows: sqlite3.Connection, named: Iterable[str]) -> dict[str, frozenset[str]]:
    known = dict(roles.PERMISSIONS)
    for name in named:
        if name not in known and (custom := custom_role(rows, name)) is not None and not custom.get("deleted"):
            known[name] = frozenset(custom.get("includedPermissions", ()))
    return known


def custom_role(rows: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """Return a custom role by its name, `projects/P/roles/ID`, as Google's Role in JSON."""
    row = rows.execute("SELECT role FROM roles WHERE name = ?", (name,)).fetchone()
    return json.loads(row["role"]) if row else None


def _check_role(rows: sqlite3.Connection, resource: str, role: str) -> None:
    if role in roles.PERMISSIONS:
        return
    custom = custom_role(rows, role)
    if custom is not None and role.startswith("/".join(resource.split("/")[:2]) + "/roles/"):
        return
    raise invalid(
        f"Role {role} is not supported for this resource."
        + (
            " The workbook's sandbox knows the roles that `gcloud iam roles list` shows."
            if role.startswith("roles/")
            else ""
        )
    )


def _check_member(rows: sqlite3.Connection, resource: str, member: str, kept: set[str]) -> str:
    # A deleted member may stay in a policy that is written back, but not be added.
    if member.startswith("deleted:") and member in kept:
        return member
    named = members.check(rows, member)
    if named in (decisions.ALL_USERS, decisions.ALL_AUTHENTICATED_USERS) and not _takes_public(resource):
        raise invalid("Principals of type allUsers and allAuthenticatedUsers cannot be added to this resource.")
    return named


def _takes_public(resource: str) -> bool:
    # Projects and service accounts cannot be public; repositories and services can.
    parts = resource.split("/")
    return len(parts) > 2 and parts[2] != "serviceAccounts"


def _check_owner(resource: str, before: Mapping[str, Any], after: Mapping[str, set[str]]) -> None:
    # "If the project is not part of an organization, there must be at least one owner": projects.setIamPolicy
    had = any(entry["role"] == "roles/owner" for entry in before.get("bindings", []))
    if resource.count("/") == 1 and had and not after.get("roles/owner"):
        raise ApiError(
            "FAILED_PRECONDITION",  # unverified: the sentence and the code
            "A project must keep at least one owner.",
            [
                {
                    "@type": "type.googleapis.com/google.cloudresourcemanager.v1.ProjectIamPolicyError",
                    "type": "SOLO_REQUIRE_TOS_ACCEPTOR",
                    "role": "roles/owner",
                }
            ],
        )
