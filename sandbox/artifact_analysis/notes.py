"""Notes that a project keeps itself: which bills of materials it refers to, and which findings it has looked at.

Grafeas' notes say a thing once; occurrences point at them. Source: grafeas/v1/grafeas.proto and, for what an assessment
does to a finding, vex.proto and https://cloud.google.com/artifact-analysis/docs/create-vex-statements.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Final

from grafeas.grafeas_v1 import types

from sandbox.api import messages
from sandbox.errors import ApiError, invalid, not_found, unimplemented

_ID: Final = re.compile(r"[a-zA-Z0-9._%~-]{1,256}")  # unverified: the letters and the length
# What a note is about, and the kind that this makes it.
_KINDS: Final = {"sbomReference": "SBOM_REFERENCE", "vulnerabilityAssessment": "VULNERABILITY_ASSESSMENT"}
# Of an assessment, what a finding repeats.
_REPEATED: Final = ("cve", "vulnerabilityId", "relatedUris", "state", "impacts", "remediations", "justification")

Note = dict[str, Any]


def read(parent: str, identifier: str, body: Mapping[str, Any], now: str) -> Note:
    """Return a note from a request.

    Args:
        parent: `projects/P` or `projects/P/locations/L`.

    Raises:
        ApiError: INVALID_ARGUMENT, or UNIMPLEMENTED for a kind that the sandbox keeps no notes of.
    """
    if not _ID.fullmatch(identifier):
        raise invalid(f"Invalid note id {identifier[:300]!r}.")
    known = messages.render(messages.parse(types.Note.pb(), dict(body), "note"))
    kind = next((_KINDS[key] for key in _KINDS if key in known), "")
    if not kind or known.get("kind", kind) != kind:
        others = sorted(
            {field.json_name for field in types.Note.pb().DESCRIPTOR.oneofs_by_name["type"].fields} & set(known)
        )
        about = f" ({others[0]})" if others else ""
        raise unimplemented(f"notes of other kinds than SBOM_REFERENCE and VULNERABILITY_ASSESSMENT{about}")
    return known | {"name": f"{parent}/notes/{identifier}", "kind": kind, "createTime": now, "updateTime": now}


def add(rows: sqlite3.Connection, note: Note) -> None:
    """Keep a new note.

    Raises:
        ApiError: ALREADY_EXISTS.
    """
    if rows.execute("SELECT 1 FROM notes WHERE name = ?", (note["name"],)).fetchone():
        raise ApiError("ALREADY_EXISTS", f"note with name {note['name']!r} already exists")  # unverified: the sentence
    _put(rows, note)


def change(rows: sqlite3.Connection, note: Note) -> Note:
    """Put a note in the place of the one of its name, which must be there."""
    note = note | {"createTime": get(rows, note["name"])["createTime"]}
    _put(rows, note)
    return note


def get(rows: sqlite3.Connection, name: str) -> Note:
    """Return a note by its name.

    Raises:
        ApiError: NOT_FOUND.
    """
    row = rows.execute("SELECT note FROM notes WHERE name = ?", (name,)).fetchone()
    if row is None:
        project, identifier = name.split("/")[1], name.rpartition("/")[2]
        # As in a fixture of 2026-08-06, which was new and so recorded on Google.
        raise not_found(f'note with ID "{identifier}" for project "{project}" does not exist')
    found: Note = json.loads(row["note"])
    return found


def of_project(rows: sqlite3.Connection, project: str) -> list[Note]:
    """Return a project's notes by name."""
    found = rows.execute("SELECT note FROM notes WHERE project = ? ORDER BY name", (project,)).fetchall()
    return [json.loads(row["note"]) for row in found]


def remove(rows: sqlite3.Connection, name: str) -> None:
    """Remove a note, which must be there."""
    get(rows, name)
    rows.execute("DELETE FROM notes WHERE name = ?", (name,))


def assessed(occurrence: Mapping[str, Any], notes: Iterable[Note]) -> dict[str, Any]:
    """Return a finding with what the project's assessments say of it. Pure.

    An assessment of the digest counts before one of the image.
    """
    found = dict(occurrence)
    if found["kind"] != "VULNERABILITY":
        return found
    resource, identifier = found["resourceUri"], found["vulnerability"].get("shortDescription")
    said: dict[str, Note] = {}
    for note in notes:
        body = note.get("vulnerabilityAssessment", {})
        if identifier in (body.get("assessment", {}).get("vulnerabilityId"), body.get("assessment", {}).get("cve")):
            said[body.get("product", {}).get("genericUri", "")] = note
    chosen = said.get(resource) or said.get(resource.partition("@")[0])
    if chosen is None:
        return found
    assessment = chosen["vulnerabilityAssessment"]["assessment"]
    told = {key: assessment[key] for key in _REPEATED if key in assessment}
    found["vulnerability"] = found["vulnerability"] | {"vexAssessment": {**told, "noteName": chosen["name"]}}
    return found


def _put(rows: sqlite3.Connection, note: Note) -> None:
    rows.execute(
        "INSERT OR REPLACE INTO notes (name, project, note) VALUES (?, ?, ?)",
        (note["name"], note["name"].split("/")[1], json.dumps(note)),
    )
