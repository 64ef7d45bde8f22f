"""Secret Manager: secrets and their versions."""

from __future__ import annotations

from typing import Any

from tests.observed import shapes
from tests.observed.facts import Fact
from tests.observed.replay import Request, Stage

HOST = "https://secretmanager.googleapis.com"
_GIVEN = ("labels", "annotations", "replication", "rotation", "topics", "expireTime", "versionAliases")
_STATES = {2: "disable", 3: "destroy"}


def _secrets(stage: Stage) -> str:
    return f"/v1/projects/{stage.project}/secrets"


def _value(path: str, masked: Any) -> Any:
    if path.endswith("Time"):
        return "2099-01-01T00:00:00Z"
    return "86400s" if path.endswith("rotationPeriod") else shapes.example(masked)


def _made(stage: Stage, fact: Fact) -> str:
    fields = {
        path: masked for path, masked in (fact.answer or {}).items() if path.removeprefix(".").split(".")[0] in _GIVEN
    }
    body = {"replication": {"automatic": {}}, **shapes.fill(fields, _value)}
    name = stage.name("secret")
    stage.ask("POST", f"{HOST}{_secrets(stage)}?secretId={name}", body)
    return f"{_secrets(stage)}/{name}"


def _create(stage: Stage, fact: Fact) -> Request:
    times = {path: _value(path, masked) for path, masked in (fact.body or {}).items() if _value(path, "") != ""}
    return Request(_secrets(stage), {"?secretId": stage.name("secret"), **times})


def _get(stage: Stage, fact: Fact) -> Request:
    return Request(f"{_secrets(stage)}/none" if fact.status == 404 else _made(stage, fact))


def _patch(stage: Stage, fact: Fact) -> Request:
    path = _made(stage, fact)
    etag = stage.ask("GET", HOST + path).get("etag", "")
    times = {path: _value(path, masked) for path, masked in (fact.body or {}).items() if _value(path, "") != ""}
    return Request(path, {".etag": etag, ".name": path.removeprefix("/v1/"), **times})


def _version(stage: Stage, fact: Fact) -> Request:
    """A version in the state that the fact tells, or in the one before a change."""
    secret = f"{_secrets(stage)}/{stage.name('secret')}"
    stage.ask(
        "POST", f"{HOST}{_secrets(stage)}?secretId={secret.rpartition('/')[2]}", {"replication": {"automatic": {}}}
    )
    path = f"/v1/{stage.ask('POST', f'{HOST}{secret}:addVersion', {'payload': {'data': 'dGV4dA=='}})['name']}"
    verb = fact.path.partition(":")[2]
    state = (fact.answer or {}).get(".state")
    before = "disable" if verb == "enable" else "" if verb else _STATES.get(state if isinstance(state, int) else 0, "")
    if before:
        stage.ask("POST", f"{HOST}{path}:{before}", {})
    etag = stage.ask("GET", HOST + path).get("etag", "")
    values = {".etag": etag, ".name": path.removeprefix("/v1/")}
    return Request(f"{path}:{verb}" if verb else path, values)


def _add_version(stage: Stage, fact: Fact) -> Request:
    secret = _made(stage, Fact("", "", 200, "", "", ""))
    values = {".payload.data": "dGV4dA==", ".parent": secret.removeprefix("/v1/")}
    return Request(f"{secret}:addVersion", values)


_PATH = "/v1/projects/P/secrets"
PREPARE = {
    f"POST {_PATH}": _create,
    f"GET {_PATH}/X": _get,
    f"PATCH {_PATH}/X": _patch,
    f"DELETE {_PATH}/X": lambda stage, fact: Request(_made(stage, Fact("", "", 200, "", "", ""))),
    f"POST {_PATH}/X:addVersion": _add_version,
    f"GET {_PATH}/X/versions/X": _version,
    **{f"POST {_PATH}/X/versions/X:{verb}": _version for verb in ("enable", "disable", "destroy")},
}
