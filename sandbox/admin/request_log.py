"""The log of recent requests, for "under the hood" lessons and for debugging.

Credentials are never stored: no Authorization header, no body of the token endpoint, no token in a query.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import threading
from typing import Any

from sandbox.redaction import redact

_KEEP = 5000
_BODY = 4000  # characters of a JSON body


@dataclasses.dataclass(frozen=True)
class Request:
    """One request in the log.

    Attributes:
        number: counts up from 1.
        time: the sandbox's clock, RFC 3339.
        door: `edge` or `port`.
        method: id of the API's method, or empty.
        principal: the caller's e-mail address, or `anonymous`.
        body: JSON request body without secrets, truncated to 4000 characters.
        milliseconds: from the head to the answer.
    """

    number: int
    time: str
    door: str
    verb: str
    host: str
    path: str
    query: str
    status: int
    method: str
    principal: str
    body: str
    milliseconds: float


class RequestLog:
    """The last requests, oldest first."""

    def __init__(self) -> None:
        self._requests: collections.deque[Request] = collections.deque(maxlen=_KEEP)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, *, query: str, body: bytes, **fields: Any) -> Request:
        """Add a request without its secrets, and return it."""
        with self._lock:
            request = Request(
                number=next(self._numbers),
                query=redact(query),
                body=redact(body.decode("utf-8", "replace"))[:_BODY],
                **fields,
            )
            self._requests.append(request)
        return request

    def since(self, number: int) -> list[dict[str, Any]]:
        """Return the requests after a number as JSON, with their JSON bodies parsed."""
        with self._lock:
            kept = [request for request in self._requests if request.number > number]
        return [_as_json(request) for request in kept]


def _as_json(request: Request) -> dict[str, Any]:
    answer = dataclasses.asdict(request)
    try:
        answer["body"] = json.loads(request.body) if request.body else None
    except (ValueError, RecursionError):
        answer["body"] = request.body
    return answer
