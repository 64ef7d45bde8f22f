"""Roles of iam.googleapis.com v1: predefined roles, which can be read, and custom roles.

Source: https://cloud.google.com/iam/docs/reference/rest/v1/roles and .../projects.roles. A deleted custom role is only
marked; its bindings stay in the policies and grant nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from sandbox.api import field_masks, lists, shapes
from sandbox.api.methods import Call, Method
from sandbox.errors import ApiError, check_fields, conflict, invalid, not_found, unimplemented
from sandbox.iam import policies, roles

_ID = re.compile(r"[a-zA-Z0-9_.]{3,64}")
_FIELDS = ("title", "description", "includedPermissions", "stage")
_STAGES = ("ALPHA", "BETA", "GA", "DEPRECATED", "DISABLED", "EAP")


def _render_predefined(role: roles.Role, *, full: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"name": role.name, "title": role.title, "stage": "GA", "etag": "AA=="}
    return answer | ({"includedPermissions": sorted(role.permissions)} if full else {})


def _render_custom(role: Mapping[str, Any], *, full: bool) -> dict[str, Any]:
    return {key: value for key, value in role.items() if value and (full or key != "includedPermissions")}


def _page(call: Call, found: list[dict[str, Any]]) -> dict[str, Any]:
    # 300 is the documented default.
    query = {"pageSize": "300", **{key: value for key, value in call.query.items() if value != "0"}}
    chosen, token = lists.page(found, query, lambda role: str(role["name"]))
    return lists.answer("roles", chosen, token)


def _full(call: Call) -> bool:
    return call.query.get("view", "BASIC") in ("FULL", "1")


def _list(call: Call) -> dict[str, Any]:
    return _page(call, [_render_predefined(role, full=_full(call)) for role in roles.ROLES.values()])


def _get(call: Call) -> dict[str, Any]:
    name = f"roles/{call.params['role']}"
    role = roles.ROLES.get(name)
    if role is None:
        raise not_found(f"The role named {name} was not found.")
    return _render_predefined(role, full=True)


def _etag(role: Mapping[str, Any]) -> str:
    text = json.dumps({key: value for key, value in role.items() if key != "etag"}, sort_keys=True)
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


class _Role(shapes.Shape):
    """A custom role, https://cloud.google.com/iam/docs/reference/rest/v1/projects.roles."""

    title: str | None = None
    description: str | None = None
    stage: str | None = None
    etag: str | None = None
    included_permissions: list[str] | None = None


def _checked(body: Any) -> dict[str, Any]:
    """Return the fields of a Role that a caller may set, or raise for an unknown field, stage or permission."""
    if not isinstance(body, dict):
        raise invalid("Invalid value at 'role': expected an object.")
    check_fields(body, (*_FIELDS, "name", "etag", "deleted"), "role")
    body = shapes.check(_Role, body, "role")
    role = {field: body[field] for field in _FIELDS if body.get(field)}
    if role.get("stage", "GA") not in _STAGES:
        raise invalid(f"Invalid value at 'role.stage', \"{role['stage']}\"")
    wanted = role.get("includedPermissions", [])
    for permission in wanted:
        if permission not in roles.KNOWN:
            raise invalid(f"Permission {permission} is not valid.")
    if wanted:
        role["includedPermissions"] = sorted(set(wanted))
    return role


def _name(call: Call) -> str:
    return f"projects/{call.params['project']}/roles/{call.params['role']}"


def _find(call: Call, rows: sqlite3.Connection) -> dict[str, Any]:
    role = policies.custom_role(rows, _name(call))
    if role is None:
        raise not_found(f"The role named {_name(call)} was not found.")
    return role


def _store(rows: sqlite3.Connection, role: dict[str, Any]) -> dict[str, Any]:
    role["etag"] = _etag(role)
    rows.execute("INSERT OR REPLACE INTO roles (name, role) VALUES (?, ?)", (role["name"], json.dumps(role)))
    return _render_custom(role, full=True)


def _create(call: Call) -> dict[str, Any]:
    body = call.json()
    check_fields(body, ("roleId", "role", "parent"))
    role_id, parent = body.get("roleId", ""), f"projects/{call.params['project']}"
    if not isinstance(role_id, str) or not _ID.fullmatch(role_id):
        raise invalid(f'The role ID "{role_id}" is not valid: 3 to 64 letters, digits, underscores and periods.')
    role = {"name": f"{parent}/roles/{role_id}", "stage": "ALPHA", **_checked(body.get("role", {}))}
    with call.world.writing() as rows:
        if policies.custom_role(rows, role["name"]) is not None:
            raise ApiError("ALREADY_EXISTS", f"A role named {role_id} in {parent} already exists.")
        return _store(rows, role)


def _list_custom(call: Call) -> dict[str, Any]:
    prefix = f"projects/{call.params['project']}/roles/"
    with call.world.reading() as rows:
        stored = rows.execute(
            "SELECT role FROM roles WHERE substr(name, 1, ?) = ? ORDER BY name", (len(prefix), prefix)
        ).fetchall()
    deleted = call.query.get("showDeleted", "").lower() == "true"
    found = [json.loads(row["role"]) for row in stored]
    return _page(call, [_render_custom(role, full=_full(call)) for role in found if deleted or not role.get("deleted")])


def _get_custom(call: Call) -> dict[str, Any]:
    with call.world.reading() as rows:
        return _render_custom(_find(call, rows), full=True)


def _check_etag(given: Any, role: Mapping[str, Any]) -> None:
    if given and given != role["etag"]:
        raise conflict()


def _patch(call: Call) -> dict[str, Any]:
    body = call.json()
    changes = _checked(body)
    mask = field_masks.paths(field_masks.of(call))
    if unknown := [field for field in mask if field not in _FIELDS]:
        raise invalid(f"Invalid updateMask: {unknown[0]} is not one of {', '.join(_FIELDS)}.")
    with call.world.writing() as rows:
        role = _find(call, rows)
        _check_etag(body.get("etag"), role)
        if role.get("deleted"):
            raise ApiError("FAILED_PRECONDITION", f"The role named {role['name']} is deleted. Undelete it first.")
        kept = {field: value for field, value in role.items() if field not in (mask or changes)}
        return _store(rows, kept | {field: changes[field] for field in (mask or changes) if field in changes})


def _mark(call: Call, *, deleted: bool) -> dict[str, Any]:
    with call.world.writing() as rows:
        role, body = _find(call, rows), call.json()
        check_fields(body, ("etag", "name"))
        _check_etag(call.query.get("etag") or body.get("etag"), role)
        if bool(role.get("deleted")) is deleted:
            raise ApiError(
                "FAILED_PRECONDITION", f"The role named {role['name']} is {'already' if deleted else 'not'} deleted."
            )
        return _store(rows, {**role, "deleted": deleted})


def _delete(call: Call) -> dict[str, Any]:
    return _mark(call, deleted=True)


def _undelete(call: Call) -> dict[str, Any]:
    return _mark(call, deleted=False)


def _testable(call: Call) -> dict[str, Any]:
    """List the permissions that a custom role can have. gcloud calls this before it creates a role."""
    body = call.json()
    check_fields(body, ("fullResourceName", "pageSize", "pageToken"))
    resource = str(body.get("fullResourceName", _PROJECTS))
    if not resource.startswith(_PROJECTS):
        raise unimplemented(f"the permissions that can be tested on the fullResourceName {resource[:100]!r}")
    query = {"pageSize": str(body.get("pageSize") or 1000), "pageToken": str(body.get("pageToken") or "")}
    chosen, token = lists.page(sorted(roles.KNOWN), query, lambda name: name)
    return lists.answer("permissions", [{"name": name, "stage": "GA"} for name in chosen], token)


_PROJECTS = "//cloudresourcemanager.googleapis.com/projects/"
_PATH = "/v1/projects/{project}/roles"
_ROLE = _PATH + "/{role}"
_ID_PREFIX = "iam.projects.roles"

METHODS = (
    Method("iam.permissions.queryTestablePermissions", "POST", "/v1/permissions:queryTestablePermissions", _testable),
    Method("iam.roles.list", "GET", "/v1/roles", _list),
    Method("iam.roles.get", "GET", "/v1/roles/{role}", _get),
    Method(f"{_ID_PREFIX}.create", "POST", _PATH, _create, ("iam.roles.create",)),
    Method(f"{_ID_PREFIX}.list", "GET", _PATH, _list_custom, ("iam.roles.list",)),
    Method(f"{_ID_PREFIX}.get", "GET", _ROLE, _get_custom, ("iam.roles.get",)),
    Method(f"{_ID_PREFIX}.patch", "PATCH", _ROLE, _patch, ("iam.roles.update",)),
    Method(f"{_ID_PREFIX}.delete", "DELETE", _ROLE, _delete, ("iam.roles.delete",)),
    Method(f"{_ID_PREFIX}.undelete", "POST", f"{_ROLE}:undelete", _undelete, ("iam.roles.undelete",)),
)
