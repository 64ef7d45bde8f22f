"""cloudresourcemanager.googleapis.com: projects and their policies, v1 for gcloud and v3 for the Python client.

Source: https://cloud.google.com/resource-manager/reference/rest, facts/gcloud.md 1. Projects here have no parent, like
those of a person without an organisation. The creator of a project becomes its owner; Google's service agents and the
default compute account get no roles, as in new organisations.
"""

from __future__ import annotations

import fnmatch
import json
import re
import zlib
from collections.abc import Callable
from typing import Any

from google.cloud.resourcemanager_v3 import types

from sandbox.api import filters, lists, messages, operations
from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.errors import ApiError, caller_denied, check_fields, invalid, unimplemented
from sandbox.iam import admission, policies
from sandbox.iam.policy_methods import policy_methods
from sandbox.project import reserved_ids
from sandbox.state import projects
from sandbox.state.projects import Project

_ID = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_NAME = re.compile(r"[A-Za-z0-9'\" !-]{4,30}")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_FIELDS: dict[str, Callable[[Project], str]] = {
    "id": lambda project: project.id,
    "projectId": lambda project: project.id,
    "projectNumber": lambda project: project.number,
    "name": lambda project: project.name,
    "lifecycleState": lambda project: project.state,
}
_CREATABLE = ("projectId", "name", "labels", "parent")


def _render(project: Project) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "projectNumber": project.number,
        "projectId": project.id,
        "lifecycleState": project.state,
        "name": project.name,
        "createTime": project.create_time,
    }
    return answer | ({"labels": dict(project.labels)} if project.labels else {})


def _render_v3(project: Project) -> dict[str, Any]:
    body = {
        "name": f"projects/{project.number}",
        "projectId": project.id,
        "state": project.state,
        "displayName": project.name,
        "createTime": project.create_time,
        "updateTime": project.create_time,
        "labels": dict(project.labels),
        "etag": _etag(project),
    }
    return messages.render(messages.parse(types.Project.pb(), body))


def _etag(project: Project) -> str:
    content = json.dumps([project.name, project.state, sorted(project.labels.items())])
    return f'W/"{zlib.crc32(content.encode()):016x}"'


def _get(call: Call) -> dict[str, Any]:
    return _render(call.project)


def _get_v3(call: Call) -> dict[str, Any]:
    return _render_v3(call.project)


def _visible(call: Call) -> list[Project]:
    """Return the projects that the caller may get."""
    with call.world.reading() as rows:
        found = [Project.of(row) for row in rows.execute("SELECT * FROM projects ORDER BY id")]
    seen = "resourcemanager.projects.get"
    return [project for project in found if admission.is_allowed(call, seen, f"projects/{project.id}")]


def _comparison(field: str, sign: str, value: str) -> Callable[[Project], bool]:
    """Return the predicate of a comparison; gcloud sends `lifecycleState:ACTIVE AND (labels.team:ml)`."""
    if sign not in ("=", ":"):
        raise unimplemented(f"the sign {sign} in a filter of projects")
    if field.startswith("labels."):
        key = field.removeprefix("labels.")
        return lambda project: key in project.labels and value in ("*", project.labels[key])
    read = _FIELDS.get(field)
    if read is None:
        raise unimplemented(f"filters on {field}; the fields are {', '.join(_FIELDS)}, labels.KEY")
    return lambda project: fnmatch.fnmatchcase(read(project).lower(), value.lower())


def _list(call: Call) -> dict[str, Any]:
    wanted = filters.parse(call.query.get("filter", ""), _comparison)
    found = [project for project in _visible(call) if wanted(project)]
    chosen, token = lists.page(found, call.query, lambda project: project.id)
    return lists.answer("projects", [_render(project) for project in chosen], token)


def _create(call: Call) -> dict[str, Any]:
    body = call.json()
    check_fields(body, _CREATABLE)
    project_id, labels = body.get("projectId", ""), body.get("labels") or {}
    name = body.get("name") or project_id
    if body.get("parent"):
        raise unimplemented("projects inside an organisation or a folder")
    if not isinstance(project_id, str) or not _ID.fullmatch(project_id):
        raise invalid(
            "Project IDs must be between 6 and 30 characters: lower-case letters, digits and hyphens, beginning with a "
            "letter and not ending with a hyphen."
        )
    if reserved_ids.is_reserved(project_id):
        # unverified: the sentence
        raise invalid(f"Project ID {project_id} is reserved by Google. Choose another one.")
    _check(name, labels)
    with call.world.writing() as rows:
        if rows.execute("SELECT 1 FROM projects WHERE id = ?", (project_id,)).fetchone():
            raise ApiError("ALREADY_EXISTS", "Requested entity already exists")
        projects.create(rows, call.world, project_id, name, labels)
        policies.grant(rows, call.world, f"projects/{project_id}", "roles/owner", call.principal.name)
        project = Project.of(rows.execute("SELECT * FROM projects WHERE id = ?", (project_id,)).fetchone())
        response = {"@type": "type.googleapis.com/google.cloudresourcemanager.v1.Project", **_render(project)}
        metadata = {
            "@type": "type.googleapis.com/google.cloudresourcemanager.v1.ProjectCreationStatus",
            "gettable": True,
            "ready": True,
        }
        return operations.finish(rows, call.world, f"operations/cp.{project.number}", response, metadata, begun={})


def _check(name: Any, labels: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid("Project names have 4 to 30 letters, digits, blanks, hyphens, quotes and exclamation marks.")
    if not isinstance(labels, dict) or not all(
        isinstance(value, str) and _LABEL.fullmatch(value) and key and _LABEL.fullmatch(key)
        for key, value in labels.items()
    ):
        raise invalid("Labels have lower-case letters, digits, underscores and hyphens, at most 63 each.")


def _update(call: Call) -> dict[str, Any]:
    """Replace the name and the labels. Other fields of the project in the body are ignored."""
    body = call.json()
    check_fields(body, (*_CREATABLE, "projectNumber", "lifecycleState", "createTime"))
    if body.get("parent"):
        raise unimplemented("projects inside an organisation or a folder")
    name, labels = body.get("name") or call.project.id, body.get("labels") or {}
    _check(name, labels)
    with call.world.writing() as rows:
        rows.execute(
            "UPDATE projects SET name = ?, labels = ? WHERE id = ?", (name, json.dumps(labels), call.project.id)
        )
        return _render(Project.of(rows.execute("SELECT * FROM projects WHERE id = ?", (call.project.id,)).fetchone()))


def _get_operation(call: Call) -> dict[str, Any]:
    name = call.params["operation"]
    # The name contains the project's number and can be guessed, so the caller must be able to see the project.
    if name.removeprefix("cp.") not in {project.number for project in _visible(call)}:
        raise caller_denied("", "")
    return operations.get(call.world, f"operations/{name}")


def _move(call: Call, before: str, after: str) -> dict[str, Any]:
    if call.project.state != before:
        raise ApiError("FAILED_PRECONDITION", "Precondition check failed.")
    with call.world.writing() as rows:
        rows.execute("UPDATE projects SET state = ? WHERE id = ?", (after, call.params["project"]))
    return {}


def _delete(call: Call) -> dict[str, Any]:
    return _move(call, "ACTIVE", "DELETE_REQUESTED")


def _undelete(call: Call) -> dict[str, Any]:
    return _move(call, "DELETE_REQUESTED", "ACTIVE")


def _ancestry(call: Call) -> dict[str, Any]:
    return {"ancestor": [{"resourceId": {"type": "project", "id": call.params["project"]}}]}


_PROJECTS = "/v1/projects"
_PROJECT = f"{_PROJECTS}/{{project}}"
_PROJECT_V3 = "/v3/projects/{project}"
_PREFIX = "cloudresourcemanager.projects"
_GET = ("resourcemanager.projects.get",)
_UNDELETE = ("resourcemanager.projects.undelete",)


def _policies(path: str) -> list[Method]:
    return policy_methods(_PREFIX, path, "projects/{project}", "resourcemanager.projects", get_verbs=("POST",))


API = Api(
    "cloudresourcemanager.googleapis.com",
    "Cloud Resource Manager API",
    ordered(
        (
            # Without an organisation, every caller may create projects.
            Method(f"{_PREFIX}.create", "POST", _PROJECTS, _create),
            Method(f"{_PREFIX}.list", "GET", _PROJECTS, _list),
            # v3 names the permission, v1 does not: a golden log recorded on Google (2026-05-26).
            Method(f"{_PREFIX}.get", "GET", _PROJECT, _get, _GET, denial=caller_denied),
            Method(f"{_PREFIX}.update", "PUT", _PROJECT, _update, ("resourcemanager.projects.update",)),
            Method(f"{_PREFIX}.delete", "DELETE", _PROJECT, _delete, ("resourcemanager.projects.delete",)),
            Method(f"{_PREFIX}.undelete", "POST", f"{_PROJECT}:undelete", _undelete, _UNDELETE),
            Method(f"{_PREFIX}.getAncestry", "POST", f"{_PROJECT}:getAncestry", _ancestry, _GET),
            *_policies(_PROJECT),
            Method("cloudresourcemanager.operations.get", "GET", "/v1/operations/{operation}", _get_operation),
            Method(f"{_PREFIX}.get", "GET", _PROJECT_V3, _get_v3, _GET),
            *_policies(_PROJECT_V3),
        )
    ),
    # gcloud's calls are charged to gcloud's own project, so `projects describe` works before anything is enabled.
    needs_enabling=False,
    sees_deleted=True,
)
