"""Notes, and occurrences that refer to a bill of materials, written by clients of Container Analysis.

Called by gcloud's `artifacts sbom load` (command_lib/artifacts/sbom_util.py) and `artifacts vulnerabilities load-vex`
(surface/artifacts/vulnerabilities/load_vex.py). Paths and permissions: facts/artifact-registry.md, appendices A and C.
Only scans and builds write occurrences of other kinds.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from grafeas.grafeas_v1 import types

from sandbox.api import lists
from sandbox.api.methods import Call, Method
from sandbox.artifact_analysis import automatic_scans, notes, occurrence_filter, sbom_reference
from sandbox.errors import check_fields, invalid, not_found, unimplemented
from sandbox.iam import admission
from sandbox.state.clock import timestamp

_ATTACH = "containeranalysis.notes.attachOccurrence"
_DETAILS = {field.json_name for field in types.Occurrence.pb().DESCRIPTOR.oneofs_by_name["details"].fields} - {
    "sbomReference"
}
_BATCH = 1000  # notes in one request of gcloud


def _parent(call: Call) -> str:
    location = call.params.get("location")
    return f"projects/{call.params['project']}" + (f"/locations/{location}" if location else "")


def _now(call: Call) -> str:
    return timestamp(call.world.now())


def _name(call: Call) -> str:
    return f"{_parent(call)}/notes/{call.params['note']}"


def _create(call: Call) -> dict[str, Any]:
    note = notes.read(_parent(call), call.query.get("noteId", ""), call.json(), _now(call))
    with call.world.writing() as rows:
        notes.add(rows, note)
    return note


def _create_many(call: Call) -> dict[str, Any]:
    body = call.json()
    check_fields(body, ("notes", "parent"))
    given = body.get("notes")
    if not isinstance(given, dict) or not given or len(given) > _BATCH:
        raise invalid(f"notes is a map of at most {_BATCH} notes by their id.")
    if not all(isinstance(one, dict) for one in given.values()):
        raise invalid("Invalid value at 'notes' (map), expected objects")
    read = [notes.read(_parent(call), key, one, _now(call)) for key, one in given.items()]
    with call.world.writing() as rows:
        for note in read:
            notes.add(rows, note)
    return {"notes": read}


def _get(call: Call) -> dict[str, Any]:
    with call.world.reading() as rows:
        return notes.get(rows, _name(call))


def _patch(call: Call) -> dict[str, Any]:
    # gcloud sends whole notes and no mask.
    if call.query.get("updateMask"):
        raise unimplemented("changing single fields of a note")
    note = notes.read(_parent(call), call.params["note"], call.json(), _now(call))
    with call.world.writing() as rows:
        return notes.change(rows, note)


def _delete(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        notes.remove(rows, _name(call))
    return {}


def _list(call: Call) -> dict[str, Any]:
    wanted = occurrence_filter.matcher(call.query.get("filter", ""))
    inside = f"{_parent(call)}/notes/"
    with call.world.reading() as rows:
        found = [one for one in notes.of_project(rows, call.params["project"]) if one["name"].startswith(inside)]
    chosen, token = lists.page([one for one in found if wanted(one)], call.query, lambda one: str(one["name"]))
    return lists.answer("notes", chosen, token)


def _attach(call: Call) -> dict[str, Any]:
    occurrence = sbom_reference.parse(call.json())
    name, resource = occurrence.get("noteName", ""), occurrence.get("resourceUri", "")
    if others := _DETAILS & set(occurrence):
        raise unimplemented(f"{min(others)} in an occurrence that is written by hand; SBOM_REFERENCE is here")
    if not resource or not name.startswith("projects/"):
        raise invalid("An occurrence needs a resourceUri and a noteName.")
    if "sbomReference" not in occurrence:
        raise unimplemented("occurrences of other kinds than SBOM_REFERENCE, written by hand")
    owner = "/".join(name.split("/")[:2])
    admission.require(call, _ATTACH, owner, service="containeranalysis.googleapis.com", shown=name)
    made = occurrence | {
        "name": f"{_parent(call)}/occurrences/{uuid.uuid4()}",
        "kind": "SBOM_REFERENCE",
        "createTime": _now(call),
        "updateTime": _now(call),
    }
    with call.world.writing() as rows:
        if notes.get(rows, name)["kind"] != made["kind"]:
            raise invalid(f"The note {name} is of another kind than the occurrence.")
        automatic_scans.put(rows, made)
    return made


def _own(call: Call) -> dict[str, Any]:
    """Return the occurrence in the path, or raise if a scan or a build wrote it."""
    name = f"{_parent(call)}/occurrences/{call.params['occurrence']}"
    with call.world.reading() as rows:
        found = automatic_scans.get(rows, name)
        if found is None:
            raise not_found()
        written = found["kind"] == "SBOM_REFERENCE" and found["noteName"] != sbom_reference.NOTE
    if not written:
        raise unimplemented("changing what a scan or a build wrote")
    return found


def _change(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        before, body = _own(call), sbom_reference.parse(call.json())
        mask = [part.strip() for part in call.query.get("updateMask", "").split(",")]
        if set(mask) - {"sbom_reference", "sbomReference", "envelope"}:
            raise unimplemented("changing other fields of an occurrence than sbom_reference and envelope")
        fields = {"sbomReference" if part != "envelope" else part for part in mask}
        changed = {key: value for key, value in before.items() if key not in fields}
        changed |= {key: body[key] for key in fields if key in body} | {"updateTime": _now(call)}
        automatic_scans.put(rows, changed)
        return changed


def _detach(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        found = _own(call)
        rows.execute("DELETE FROM occurrences WHERE name = ?", (found["name"],))
        return {}


def _methods() -> list[Method]:
    known: list[tuple[str, str, str, Callable[[Call], dict[str, Any]], tuple[str, ...]]] = [
        ("notes.batchCreate", "POST", "notes:batchCreate", _create_many, ("notes.create",)),
        ("notes.create", "POST", "notes", _create, ("notes.create",)),
        ("notes.get", "GET", "notes/{note}", _get, ("notes.get",)),
        ("notes.list", "GET", "notes", _list, ("notes.list",)),
        ("notes.patch", "PATCH", "notes/{note}", _patch, ("notes.update", "notes.get")),
        ("notes.delete", "DELETE", "notes/{note}", _delete, ("notes.delete",)),
        ("occurrences.create", "POST", "occurrences", _attach, ("occurrences.create",)),
        ("occurrences.patch", "PATCH", "occurrences/{occurrence}", _change, ("occurrences.get", "occurrences.update")),
        ("occurrences.delete", "DELETE", "occurrences/{occurrence}", _detach, ("occurrences.delete",)),
    ]
    return [
        Method(
            f"containeranalysis.{parent}.{name}",
            verb,
            f"/v1/projects/{{project}}{part}/{path}",
            handle,
            tuple(f"containeranalysis.{one}" for one in permissions),
        )
        for parent, part in (("projects", ""), ("projects.locations", "/locations/{location}"))
        for name, verb, path, handle, permissions in known
    ]


METHODS = tuple(_methods())
