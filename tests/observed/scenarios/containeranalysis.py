"""Container Analysis: notes."""

from __future__ import annotations

from typing import Any

from tests.observed.facts import Fact
from tests.observed.replay import Request, Stage

HOST = "https://containeranalysis.googleapis.com"
_NOTE: dict[str, Any] = {
    "attestation": {"hint": {"humanReadableName": "text"}},
    "shortDescription": "text",
    "longDescription": "text",
    "relatedUrl": [{"url": "text", "label": "text"}],
}


def _notes(stage: Stage) -> str:
    return f"/v1/projects/{stage.project}/notes"


def _made(stage: Stage) -> str:
    name = stage.name("note")
    stage.ask("POST", f"{HOST}{_notes(stage)}?noteId={name}", _NOTE)
    return f"{_notes(stage)}/{name}"


def _create(stage: Stage, fact: Fact) -> Request:
    name = stage.name("note")
    return Request(_notes(stage), {"?noteId": name, ".name": f"projects/{stage.project}/notes/{name}"})


def _get(stage: Stage, fact: Fact) -> Request:
    return Request(f"{_notes(stage)}/none" if fact.status == 404 else _made(stage))


_PATH = "/v1/projects/P/notes"
PREPARE = {
    f"POST {_PATH}": _create,
    f"GET {_PATH}/X": _get,
    f"PATCH {_PATH}/X": _get,
    f"DELETE {_PATH}/X": _get,
}
