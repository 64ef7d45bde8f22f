"""Cloud Run v2: services that really start, so a Docker Engine must answer."""

from __future__ import annotations

from typing import Any

from helpers import waiting
from tests.observed import shapes
from tests.observed.facts import Fact
from tests.observed.replay import Request, Stage

HOST = "https://run.googleapis.com"
_SECONDS = 60


def _place(stage: Stage) -> str:
    return f"/v2/projects/{stage.project}/locations/us-central1"


def _body(stage: Stage, fields: dict[str, Any]) -> dict[str, Any]:
    def value(path: str, masked: Any) -> Any:
        return stage.image if path.endswith("[].image") else shapes.example(masked)

    return shapes.fill(fields, value)


# What the recordings' client sent at creation; later requests ask for the same service.
_SENT = {
    ".labels.<key>": "<string>",
    ".template.containers[].image": "<string>",
    ".template.containers[].env[].name": "FOO",
    ".template.containers[].env[].value": "<string>",
}
_MAXIMUM = ".template.scaling.maxInstanceCount"


def _kept(stage: Stage, fact: Fact) -> tuple[str, str]:
    """The same for facts that only look: all of one size share one."""
    key = f"service of {_size(fact)}"
    if key not in stage.kept:
        stage.kept[key] = _service(stage, fact)
    found: tuple[str, str] = stage.kept[key]
    return found


def _size(fact: Fact) -> int:
    answer = fact.answer or {}
    return int(answer.get(_MAXIMUM) or answer[f".metadata{_MAXIMUM}"])


def _service(stage: Stage, fact: Fact) -> tuple[str, str]:
    """The path of a new service that is ready, as large as the fact's, and the name of its operation."""
    name = stage.name("service")
    url = f"{HOST}{_place(stage)}/services?serviceId={name}"
    maximum = _size(fact)
    operation = stage.ask("POST", url, _body(stage, {**_SENT, _MAXIMUM: maximum}))
    _done(stage, operation["name"])
    return f"{_place(stage)}/services/{name}", operation["name"]


def _done(stage: Stage, operation: str) -> None:
    asked = (stage.ask("GET", f"{HOST}/v2/{operation}") for _ in waiting.attempts(_SECONDS, first=0.05, longest=0.05))
    assert any(answer.get("done") for answer in asked), f"{operation} isn't done after {_SECONDS} seconds"


def _create(stage: Stage, fact: Fact) -> Request:
    image = {".template.containers[].image": stage.image}
    return Request(f"{_place(stage)}/services", {"?serviceId": stage.name("service"), **image})


def _get(stage: Stage, fact: Fact) -> Request:
    return Request(f"{_place(stage)}/services/none" if fact.status == 404 else _kept(stage, fact)[0])


def _patch(stage: Stage, fact: Fact) -> Request:
    account = next((path for path in fact.body or {} if path.endswith(".serviceAccount")), "")
    path, _ = _service(stage, fact)
    found = stage.ask("GET", HOST + path)
    values = {".template.containers[].image": stage.image, account: found["template"]["serviceAccount"]}
    return Request(path, values)


def _operation(stage: Stage, fact: Fact) -> Request:
    answer = fact.answer or {}
    gone = ".metadata.deleteTime" in answer
    path, operation = _service(stage, fact) if gone else _kept(stage, fact)
    if gone:
        operation = stage.ask("DELETE", HOST + path)["name"]
    return Request(f"/v2/{operation}")


PREPARE = {
    "POST /v2/projects/P/locations/L/services": _create,
    "GET /v2/projects/P/locations/L/services/X": _get,
    "PATCH /v2/projects/P/locations/L/services/X": _patch,
    "DELETE /v2/projects/P/locations/L/services/X": lambda stage, fact: Request(_service(stage, fact)[0]),
    "GET /v2/projects/P/locations/L/operations/OP": _operation,
}
