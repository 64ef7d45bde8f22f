"""Faults on demand, for lessons and tests: the next N calls that match fail, wait or are cut off.

The admin API has POST, GET and DELETE /_sandbox/faults.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fnmatch
import itertools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from sandbox.doors.connection import HANG_UP, SEND_FILE
from sandbox.errors import HTTP_STATUS, REGISTRY_STATUS, ApiError, Refusal, RegistryError, invalid

_TIMES = 1000
_SECONDS = 300.0
_CODES = {number: code for code, number in reversed(REGISTRY_STATUS.items())} | {403: "DENIED", 404: "NAME_UNKNOWN"}
_STATUSES = {number: status for status, number in reversed(HTTP_STATUS.items())} | {504: "DEADLINE_EXCEEDED"}


class Cut(Exception):
    """The connection was closed because of a fault."""


@dataclasses.dataclass
class Fault:
    """One fault, and how many more calls it applies to.

    Attributes:
        host, method, path, verb: patterns for the calls that it matches, in which `*` matches anything. `host` is
            Google's name, such as `us-central1-docker.pkg.dev`, `method` an API method's id, and `path` starts after
            the host.
        status: the HTTP status of the answer, or 0 for no refusal.
        delay_seconds: the delay before the call continues or fails.
        cut_after_bytes: the number of bytes of bodies, of request and answer, after which the connection is closed. A
            request of that size is carried out and its answer lost. None means never.
    """

    id: int
    times: int
    host: str = "*"
    method: str = "*"
    path: str = "*"
    verb: str = "*"
    status: int = 0
    delay_seconds: float = 0.0
    cut_after_bytes: int | None = None

    def matches(self, host: str, method: str, path: str, verb: str) -> bool:
        """Return whether this fault is for a call."""
        pairs = ((host, self.host), (method, self.method), (path, self.path), (verb, self.verb))
        # Brackets and question marks have no special meaning in a path.
        return all(
            fnmatch.fnmatchcase(value, pattern.replace("[", "[[]").replace("?", "[?]")) for value, pattern in pairs
        )

    def refusal(self, registry: bool) -> Refusal:
        """Return the failure in the format of the registry or of an API."""
        message = f"The sandbox was told to fail this call with {self.status} (fault {self.id})."
        if registry:
            return RegistryError(_CODES.get(self.status, "UNKNOWN"), message, http_status=self.status)
        status = _STATUSES.get(self.status, "INTERNAL" if self.status >= 500 else "FAILED_PRECONDITION")
        return ApiError(status, message, http_status=self.status)

    async def apply(self, scope: Scope, receive: Receive, send: Send, *, registry: bool) -> tuple[Receive, Send]:
        """Delay, refuse or cut the call, and return the receive and send to continue with.

        Raises:
            Refusal: for a fault with a status.
        """
        await asyncio.sleep(self.delay_seconds)
        if self.status:
            raise self.refusal(registry)
        return (receive, send) if self.cut_after_bytes is None else _cut(scope, receive, send, self.cut_after_bytes)


def _cut(scope: Scope, receive: Receive, send: Send, allowed: int) -> tuple[Receive, Send]:
    left = allowed
    scope.pop(SEND_FILE, None)  # so that all bytes are sent through here and counted

    def spend(body: bytes) -> bytes:
        nonlocal left
        kept = body[:left]
        left -= len(body)
        return kept

    async def drop() -> None:
        scope[HANG_UP]()
        while (await receive())["type"] != "http.disconnect":
            pass
        raise Cut

    async def receive_some() -> Message:
        message = await receive()
        if spend(message.get("body", b"")) != message.get("body", b""):
            await drop()
        return message

    async def send_some(message: Message) -> None:
        if left <= 0:
            await drop()
        body = message.get("body", b"")
        kept = spend(body)
        if kept != body:
            await send({**message, "body": kept, "more_body": True})
            await drop()
        await send(message)

    return receive_some, send_some


class Faults:
    """The pending faults, of which the oldest that matches a call applies."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, body: Any) -> Fault:
        """Add a fault from a JSON body, in which `times` is 1 by default.

        Raises:
            ApiError: INVALID_ARGUMENT for an invalid body.
        """
        fault = Fault(next(self._numbers), **_checked(body))
        with self._lock:
            self._waiting.append(fault)
        return fault

    @property
    def waiting(self) -> bool:
        """Whether any fault is pending."""
        return bool(self._waiting)

    def take(self, host: str, path: str, verb: str, method: str) -> Fault | None:
        """Return the fault for a call and count it down, or return None."""
        with self._lock:
            for fault in self._waiting:
                if fault.matches(host, method, path, verb):
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting.remove(fault)
                    return fault
        return None

    def as_json(self) -> list[dict[str, Any]]:
        """Return the pending faults, each with the number of calls that it still applies to."""
        with self._lock:
            return [dataclasses.asdict(fault) for fault in self._waiting]

    def clear(self) -> int:
        """Remove all faults and return how many there were."""
        with self._lock:
            number = len(self._waiting)
            self._waiting.clear()
        return number


def _checked(body: Any) -> dict[str, Any]:
    """Return the checked fields of a fault."""
    if not isinstance(body, Mapping):
        raise invalid("A fault is a JSON object.")
    rules: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(
            ("host", "method", "path", "verb"), lambda value: isinstance(value, str) and 0 < len(value) < 500
        ),
        "status": lambda value: _whole(value) and 400 <= value <= 599,
        "times": lambda value: _whole(value) and 1 <= value <= _TIMES,
        "delay_seconds": lambda value: (_whole(value) or isinstance(value, float)) and 0 <= value <= _SECONDS,
        "cut_after_bytes": lambda value: _whole(value) and value >= 0,
    }
    for name, value in body.items():
        if name not in rules:
            raise invalid(f"A fault has no field {str(name)[:80]!r}; it has {', '.join(rules)}.")
        if not rules[name](value):
            raise invalid(f"A fault's {name} cannot be {str(value)[:80]!r}.")
    if not {"status", "delay_seconds", "cut_after_bytes"} & body.keys():
        raise invalid("A fault needs a status, delay_seconds or cut_after_bytes.")
    if {"status", "cut_after_bytes"} <= body.keys():
        raise invalid("A fault has a status or cut_after_bytes, not both.")
    return {"times": 1, **body}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
