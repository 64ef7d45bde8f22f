"""Record Google's answers to a fixed list of calls without names, and compare them with the sandbox's answers.

`record` makes the calls with the default credentials, in a repository of its own that it deletes. `save` writes one
JSON file for each operation, or none at all. `replay` repeats the recorded calls against the environment's target, and
`differences` compares status, fields and messages.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import requests
from google.auth.transport.requests import AuthorizedSession

from cli.exchanges import scrub
from cli.exchanges.calls import CALLS, DELETE, Call
from helpers import names, projects, target
from helpers.transport import clients

FOLDER: Final = target.ROOT / "tests" / "exchanges"
_API: Final = "https://artifactregistry.googleapis.com/v1"
_POLLS: Final = 120
# The headers that clients use, without dates, lengths and tracing.
_HEADERS: Final = ("content-type", "www-authenticate", "docker-distribution-api-version", "location")


@dataclass(frozen=True)
class Exchange:
    """A call and its answer, without names. `observed` is the day, and `source` is google or sandbox.

    `headers` are those of the answer that clients use, `order` is the position in the list.
    """

    operation: str
    case: str
    order: int
    source: str
    observed: str
    method: str
    url: str
    sent: Any
    anonymous: bool
    status: int
    headers: Mapping[str, str]
    answer: Any


class SecretLeft(RuntimeError):
    """An exchange still contains something that looks like a secret. Nothing was written."""


@dataclass(frozen=True)
class Place:
    """The project to record against: real values for the placeholders, and extra strings to scrub."""

    values: Mapping[str, str]
    also: Mapping[str, str]

    def fill(self, value: Any) -> Any:
        """Return a call's text or body with placeholders replaced by values."""
        text = json.dumps(value)
        for stand_in, real in self.values.items():
            text = text.replace(stand_in, real)
        return json.loads(text)

    @property
    def names(self) -> dict[str, str]:
        """The placeholders by their values, for the scrubber."""
        return {real: stand_in for stand_in, real in {**self.also, **self.values}.items() if real}


def place(project: str, region: str, repository: str) -> Place:
    """Return the values for a project. Raises google.api_core.exceptions.GoogleAPICallError."""
    facts = projects.describe(names.Project.parse(project))
    nobody = f"nobody@{project}.iam.gserviceaccount.com"
    values = {"<project>": project, "<region>": region, "<repository>": repository, "<nobody>": nobody}
    return Place(values, {"<number>": facts.number, "<title>": facts.name if len(facts.name) > len("default") else ""})


def record(here: Place, source: str, say: Callable[[str], object], calls: Sequence[Call] = CALLS) -> list[Exchange]:
    """Make the calls in order and return the scrubbed exchanges. The repository is deleted in any case.

    Raises google.auth.exceptions.GoogleAuthError, requests.RequestException.
    """
    enabled = projects.enabled(names.Project(here.values["<project>"]))
    day = dt.datetime.now(dt.UTC).date().isoformat()
    found = []
    opened = clients.session()
    try:
        for order, call in enumerate(calls, 1):
            if call.needs and call.needs not in enabled:
                say(f"Left out: {call.operation}, {call.case}: {call.needs} isn't enabled.")
                continue
            answer = _ask(opened, here, call)
            found.append(_exchange(here, call, order, answer, source, day))
            _settled(opened, answer)
    finally:
        _ask(opened, here, DELETE)
    return found


def replay(recorded: Iterable[Exchange], here: Place) -> list[Exchange]:
    """Repeat the recorded calls in their order and return the scrubbed exchanges."""
    found = []
    opened = clients.session()
    for one in sorted(recorded, key=lambda exchange: exchange.order):
        call = Call(one.operation, one.case, one.method, one.url, one.sent, one.anonymous)
        answer = _ask(opened, here, call)
        found.append(_exchange(here, call, one.order, answer, "replay", one.observed))
        _settled(opened, answer)
    return found


def differences(recorded: Exchange, replayed: Exchange) -> list[str]:
    """Return a line for each difference of a replay: the status, a missing or an extra field, the message."""
    name = f"{recorded.operation}, {recorded.case}"
    found = []
    if recorded.status != replayed.status:
        found.append(f"{name}: the status is {replayed.status}, and was {recorded.status}")
    before, after = set(fields(recorded.answer)), set(fields(replayed.answer))
    before, after = (
        {*those, *(f"header {key}" for key in one.headers)} for those, one in ((before, recorded), (after, replayed))
    )
    found += [f"{name}: {field} is missing" for field in sorted(before - after)]
    found += [f"{name}: {field} is more than there was" for field in sorted(after - before)]
    if message(recorded.answer) != message(replayed.answer):
        found.append(f"{name}: the message is {message(replayed.answer)!r}, and was {message(recorded.answer)!r}")
    return found


def fields(answer: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of a JSON value's fields: `error.details[].reason`."""
    if isinstance(answer, Mapping):
        for key, value in answer.items():
            yield f"{path}.{key}".lstrip(".")
            yield from fields(value, f"{path}.{key}".lstrip("."))
    elif isinstance(answer, list):
        for value in answer:
            yield from fields(value, f"{path}[]")


def message(answer: Any) -> str:
    """Return a refusal's message in the APIs' or the registry's form, or ""."""
    if not isinstance(answer, Mapping):
        return ""
    if isinstance(error := answer.get("error"), Mapping):
        return str(error.get("message", ""))
    errors = answer.get("errors")
    return "; ".join(str(one.get("message", "")) for one in errors) if isinstance(errors, list) else ""


def save(found: Sequence[Exchange], folder: Path, known: Mapping[str, str]) -> list[Path]:
    """Write one file for each operation, replacing existing ones, or none at all.

    Raises SecretLeft, and OSError.
    """
    left = {
        f"{one.operation}, {one.case}: {what}"
        for one in found
        for what in scrub.leaks({**asdict(one), "observed": ""}, known)
    }
    if left:
        raise SecretLeft("Nothing was written. Left in the exchanges: " + "; ".join(sorted(left)))
    folder.mkdir(parents=True, exist_ok=True)
    grouped: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        grouped.setdefault(one.operation, []).append(asdict(one))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for operation, entries in grouped.items():
            text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
            (Path(scratch) / file_name(operation)).write_text(text, encoding="utf-8")
        return [Path(shutil.move(path, folder / path.name)) for path in sorted(Path(scratch).iterdir())]


def file_name(operation: str) -> str:
    """Return an operation's file name: `GET /v2/NAME/tags/list` becomes `get-v2-name-tags-list.json`."""
    return re.sub(r"[^a-z0-9.]+", "-", operation.lower()).strip("-") + ".json"


def load(folder: Path = FOLDER) -> list[Exchange]:
    """Return the exchanges in a folder, in the order of the calls."""
    read = [Exchange(**one) for path in sorted(folder.glob("*.json")) for one in json.loads(path.read_text("utf-8"))]
    return sorted(read, key=lambda one: one.order)


def _ask(opened: AuthorizedSession, here: Place, call: Call) -> requests.Response:
    filled = here.fill(asdict(replace(call, body=None)))
    options = {"json": here.fill(call.body)} if call.body is not None else {}
    ask = requests.request if call.anonymous else opened.request
    answer: requests.Response = ask(call.method, filled["url"], timeout=60, allow_redirects=False, **options)
    return answer


def _settled(opened: AuthorizedSession, answer: requests.Response) -> None:
    """Wait for the operation in an answer, if there is one, because the next call depends on it."""
    body = _json(answer)
    name = body.get("name", "") if isinstance(body, dict) and answer.ok else ""
    if "/operations/" not in name or body.get("done"):
        return
    for _ in range(_POLLS):
        polled = opened.get(f"{_API}/{name}", timeout=60)
        if not polled.ok or polled.json().get("done"):
            return
    raise TimeoutError(f"An operation hasn't ended after {_POLLS} polls.")


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _exchange(here: Place, call: Call, order: int, answer: requests.Response, source: str, day: str) -> Exchange:
    scrubber = scrub.Scrubber(here.names)
    body = _json(answer)
    headers = {key: answer.headers[key] for key in _HEADERS if key in answer.headers}
    if body is None and answer.content:
        headers["content-type"] = answer.headers.get("content-type", "")
    return Exchange(
        call.operation,
        call.case,
        order,
        source,
        day,
        call.method,
        call.url,
        call.body,
        call.anonymous,
        answer.status_code,
        scrubber.value(headers),
        scrubber.value(body),
    )
