"""Send a fact's request to a sandbox in the state that its scenario makes, and compare the answer."""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.auth.transport.requests import AuthorizedSession

from tests.observed import shapes
from tests.observed.facts import Fact


class NotServed(RuntimeError):
    """The sandbox refuses with 501 what a scenario needs."""


@dataclass
class Stage:
    """A project in a sandbox, in which scenarios make what a request needs.

    Attributes:
        port: the sandbox's plain port.
        image: an image that Cloud Run can start; empty where no engine answers.
    """

    session: AuthorizedSession
    project: str
    port: int
    image: str = ""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    kept: dict[str, Any] = field(default_factory=dict)

    def name(self, prefix: str) -> str:
        """A name that nothing has yet."""
        return f"{prefix}-{next(self._numbers)}"

    def ask(self, verb: str, url: str, body: Any = None) -> dict[str, Any]:
        """The answer to a call that a scenario needs.

        Raises:
            NotServed: when it is refused with 501.
            RuntimeError: when it is refused otherwise.
        """
        answer = self.session.request(verb, url, json=body)
        if answer.status_code == 501:
            raise NotServed(answer.text)
        if not answer.ok:
            raise RuntimeError(f"{verb} {url}: {answer.text}")
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    @property
    def account(self) -> str:
        """The address of a service account of the project's, made at first use."""
        if "account" not in self.kept:
            url = f"https://iam.googleapis.com/v1/projects/{self.project}/serviceAccounts"
            self.kept["account"] = self.ask("POST", url, {"accountId": self.name("reader")})["email"]
        found: str = self.kept["account"]
        return found

    def member(self, masked: str) -> str:
        """A member of a policy for a masked one: `serviceAccount:<email>` is an account that exists."""
        if masked.startswith("serviceAccount:"):
            return f"serviceAccount:{self.account}"
        return masked.replace("<email>", "someone@example.com")


@dataclass(frozen=True)
class Request:
    """What a scenario fills in.

    Attributes:
        path: the path, without the host.
        values: path of a field in the body to its value, where `text` won't do; `?name` for a parameter of the query.
        body: the whole body, where it holds more than the fact's.
        content: what is sent instead, with its type.
    """

    path: str
    values: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content: tuple[bytes, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Scenario(Protocol):
    """A module of `scenarios`."""

    HOST: str
    PREPARE: Mapping[str, Callable[[Stage, Fact], Request]]


def scenario(api: str) -> Scenario:
    """The scenario file of an API."""
    found: Scenario = importlib.import_module(f"tests.observed.scenarios.{api}")  # type: ignore[assignment]
    return found


def send(stage: Stage, api: str, fact: Fact) -> list[str]:
    """Replay a fact, and give the lines in which the answer differs; `status 501` alone when it isn't served."""
    plan = scenario(api)
    try:
        request = plan.PREPARE[fact.request](stage, fact)
    except NotServed:
        return ["status 501"]

    def value(path: str, masked: Any) -> Any:
        if path in request.values:
            return request.values[path]
        return shapes.example(masked)

    query = {key: value(f"?{key}", given) for key, given in fact.query.items()}
    body = request.body or (None if fact.body is None else shapes.fill(fact.body, value))
    headers = dict(request.headers)
    data = None
    if request.content is not None:
        body, (data, headers["Content-Type"]) = None, request.content
    url = plan.HOST + request.path
    answer = stage.session.request(fact.verb, url, params=query, json=body, data=data, headers=headers)
    if answer.status_code != fact.status:
        return [f"status {answer.status_code}"]
    if fact.error is not None:
        return _error_lines(fact.error, answer.json()["error"])
    return [] if fact.answer is None else shapes.compare(fact.answer, answer.json() if answer.content else {})


def _error_lines(expected: Mapping[str, Any], error: Mapping[str, Any]) -> list[str]:
    lines = []
    if expected.get("status") and expected["status"] != error.get("status"):
        lines.append(f"status {error.get('status')}")
    if not shapes.fits(_sentence(expected["message"]), _sentence(error["message"])):
        lines.append(f"message: {_sentence(error['message'])}")
    if ("errors" in expected) != ("errors" in error):
        lines.append(f"{'missing' if 'errors' in expected else 'extra'} errors")
    return lines


def _sentence(message: str) -> str:
    """A message with what varies made equal."""
    message = re.sub(r"No such object: \S+", "No such object: X", message)
    message = re.sub(r"projects/[\w-]+", "projects/X", message)
    message = re.sub(r"(serviceAccounts|secrets)/[\w.@-]+", r"\1/X", message)
    return re.sub(r"[\w.-]+@[\w.-]+", "<email>", message).replace("Service account <id>", "Service account <email>")
