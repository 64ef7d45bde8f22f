"""A project's own notes: references to bills of materials, and assessments of vulnerabilities.

Occurrences refer to notes. Source: grafeas/v1/grafeas.proto; for the effect of an assessment on a vulnerability,
vex.proto and https://cloud.google.com/artifact-analysis/docs/create-vex-statements.
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
# The field that a note has, and its kind
_KINDS: Final = {"sbomReference": "SBOM_REFERENCE", "vulnerabilityAssessment": "VULNERABILITY_ASSESSMENT"}
# The fields of an assessment that a vulnerability occurrence repeats
_REPEATED: Final = ("cve", "vulnerabilityId", "relatedUris", "state", "impacts", "remediations", "justification")

Note = dict[str, Any]


def read(parent: str, identifier: str, body: Mapping[str, Any], now: str) -> Note:
    """Return the note in a request.

    Args:
        parent: `projects/P` or `projects/P/locations/L`.

    Raises:
        ApiError: INVALID_ARGUMENT, or UNIMPLEMENTED for another kind of note.
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
    """Store a new note, or raise ALREADY_EXISTS."""
    if rows.execute("SELECT 1 FROM notes WHERE name = ?", (note["name"],)).fetchone():
        raise ApiError("ALREADY_EXISTS", f"note with name {note['name']!r} already exists")  # unverified: the sentence
    _put(rows, note)


def change(rows: sqlite3.Connection, note: Note) -> Note:
    """Replace an existing note."""
    note = note | {"createTime": get(rows, note["name"])["createTime"]}
    _put(rows, note)
    return note


def get(rows: sqlite3.Connection, name: str) -> Note:
    """Return a note by its name, or raise NOT_FOUND."""
    row = rows.execute("SELECT note FROM notes WHERE name = ?", (name,)).fetchone()
    if row is None:
        project, identifier = name.split("/")[1], name.rpartition("/")[2]
        # From a fixture of 2026-08-06, which was new and therefore recorded on Google.
        raise not_found(f'note with ID "{identifier}" for project "{project}" does not exist')
    found: Note = json.loads(row["note"])
    return found


def of_project(rows: sqlite3.Connection, project: str) -> list[Note]:
    """Return a project's notes, sorted by name."""
    found = rows.execute("SELECT note FROM notes WHERE project = ? ORDER BY name", (project,)).fetchall()
    return [json.loads(row["note"]) for row in found]


def remove(rows: sqlite3.Connection, name: str) -> None:
    """Delete a note, or raise NOT_FOUND."""
    get(rows, name)
    rows.execute("DELETE FROM notes WHERE name = ?", (name,))


def assessed(occurrence: Mapping[str, Any], notes: Iterable[Note]) -> dict[str, Any]:
    """Return an occurrence with the project's assessment of the vulnerability, if there is one.

    An assessment of the digest has priority over one of the image.
    """
    found = dict(occurrence)
    if found["kind"] != "VULNERABILITY":
        return found
    resource, identifier = found["resourceUri"], found["vulnerability"].get("shortDescription")
    by_product: dict[str, Note] = {}
    for note in notes:
        body = note.get("vulnerabilityAssessment", {})
        if identifier in (body.get("assessment", {}).get("vulnerabilityId"), body.get("assessment", {}).get("cve")):
            by_product[body.get("product", {}).get("genericUri", "")] = note
    chosen = by_product.get(resource) or by_product.get(resource.partition("@")[0])
    if chosen is None:
        return found
    assessment = chosen["vulnerabilityAssessment"]["assessment"]
    repeated = {key: assessment[key] for key in _REPEATED if key in assessment}
    found["vulnerability"] = found["vulnerability"] | {"vexAssessment": {**repeated, "noteName": chosen["name"]}}
    return found


def _put(rows: sqlite3.Connection, note: Note) -> None:
    rows.execute(
        "INSERT OR REPLACE INTO notes (name, project, note) VALUES (?, ?, ?)",
        (note["name"], note["name"].split("/")[1], json.dumps(note)),
    )
