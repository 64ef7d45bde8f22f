"""containeranalysis.googleapis.com v1: metadata of images, as occurrences that refer to notes.

Source: https://cloud.google.com/container-analysis/docs/reference/rest and facts/artifact-registry.md 4 and Appendix A.
The scanner writes DISCOVERY and VULNERABILITY occurrences, builds write BUILD, and the export of a bill of materials
writes SBOM_REFERENCE. `note_methods` has what clients write themselves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from google.cloud.devtools.containeranalysis_v1 import types

from sandbox.api import lists, messages
from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.artifact_analysis import automatic_scans, note_methods, notes, occurrence_filter, occurrences, sbom_export
from sandbox.errors import not_found, unimplemented
from sandbox.scanner import severity


def _found(call: Call) -> list[dict[str, Any]]:
    """Return the project's occurrences that match the filter, sorted by kind, image and note."""
    wanted = occurrence_filter.matcher(call.query.get("filter", ""))
    location = call.params.get("location", "-")
    if call.world.pace.scan and automatic_scans.is_pending(call.world, call.params["project"]):
        call.world.nudge_clock()
    with call.world.reading() as rows:
        found = rows.execute(
            "SELECT occurrence FROM occurrences WHERE project = ? AND (? = '-' OR location = ?)",
            (call.params["project"], location, location),
        ).fetchall()
        known = notes.of_project(rows, call.params["project"])
    read = [notes.assessed(json.loads(row["occurrence"]), known) for row in found]
    return sorted((one for one in read if wanted(one)), key=_order)


def _order(occurrence: dict[str, Any]) -> tuple[str, str, str, str]:
    return occurrence["kind"], occurrence["resourceUri"], occurrence["noteName"], occurrence["name"]


def _list(call: Call) -> dict[str, Any]:
    chosen, token = lists.page(_found(call), call.query, lambda one: str(one["name"]))
    return lists.answer("occurrences", chosen, token)


def _one(call: Call) -> dict[str, Any]:
    ending = f"/occurrences/{call.params['occurrence']}"
    with call.world.reading() as rows:
        row = rows.execute(
            "SELECT occurrence FROM occurrences WHERE project = ? AND substr(name, -length(?)) = ?",
            (call.params["project"], ending, ending),
        ).fetchone()
        known = notes.of_project(rows, call.params["project"])
    if row is None:
        raise not_found()
    return notes.assessed(json.loads(row["occurrence"]), known)


def _note_of(call: Call) -> dict[str, Any]:
    found = _one(call)
    if found["kind"] == "VULNERABILITY":
        return _note(call, found["noteName"].rpartition("/")[2])
    if not found["noteName"].startswith(f"projects/{call.params['project']}/"):
        raise unimplemented(f"notes of {found['kind']} occurrences")
    with call.world.reading() as rows:
        return notes.get(rows, found["noteName"])


def _get_note(call: Call) -> dict[str, Any]:
    """Return a note of Google's vulnerability project, which depends on the advisories alone."""
    return _note(call, call.params["note"])


def _note(call: Call, identifier: str) -> dict[str, Any]:
    known = automatic_scans.advisories(call.world).about(identifier)
    if not known:
        raise not_found()
    return occurrences.note(identifier, known)


def _summary(call: Call) -> dict[str, Any]:
    """Return the numbers of vulnerabilities by image and severity, worst first."""
    total: Counter[tuple[str, str]] = Counter()
    fixable: Counter[tuple[str, str]] = Counter()
    for one in _found(call):
        if one["kind"] == "VULNERABILITY":
            body = one["vulnerability"]
            key = (one["resourceUri"], body.get("effectiveSeverity", severity.UNSPECIFIED))
            total[key] += 1
            fixable[key] += bool(body.get("fixAvailable"))
    counts = [
        {"resourceUri": uri, "severity": name, "fixableCount": fixable[uri, name], "totalCount": total[uri, name]}
        for uri, name in sorted(total, key=lambda key: (key[0], -severity.ORDER.index(key[1])))
    ]
    return messages.render(messages.parse(types.VulnerabilityOccurrencesSummary.pb(), {"counts": counts}))


def _methods() -> list[Method]:
    made: list[Method] = [
        # Google's own project, whose notes every signed-in caller may read. # unverified
        Method(
            "containeranalysis.goog-vulnz.notes.get",
            "GET",
            f"/v1/{occurrences.VULNERABILITY_NOTES}/{{note}}",
            _get_note,
        )
    ]
    for parent, part in (("projects", ""), ("projects.locations", "/locations/{location}")):
        path = f"/v1/projects/{{project}}{part}/occurrences"
        known: list[tuple[str, str, Callable[[Call], dict[str, Any]], str]] = [
            ("getVulnerabilitySummary", ":vulnerabilitySummary", _summary, "list"),
            ("list", "", _list, "list"),
            ("get", "/{occurrence}", _one, "get"),
            ("getNotes", "/{occurrence}/notes", _note_of, "get"),
        ]
        made += [
            Method(
                f"containeranalysis.{parent}.occurrences.{name}",
                "GET",
                path + rest,
                handle,
                (f"containeranalysis.occurrences.{permission}",),
            )
            for name, rest, handle, permission in known
        ]
    return made


API = Api(
    "containeranalysis.googleapis.com",
    "Container Analysis API",
    ordered((*_methods(), *note_methods.METHODS, *sbom_export.METHODS)),
    regional=True,
)
