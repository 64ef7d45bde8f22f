"""Convert a gRPC call to an HTTP request, and the HTTP answer back to gRPC. Pure.

Source: https://google.aip.dev/127 and google/api/http.proto (transcoding), https://google.aip.dev/193 (errors),
https://github.com/grpc/grpc/blob/master/doc/statuscodes.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from google.api_core import path_template, rest_helpers
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from sandbox.doors import grpc_schema
from sandbox.doors.grpc_schema import Rpc
from sandbox.errors import HTTP_STATUS

# Importing the module registers the types, so that json_format can parse details.
_DETAILS = error_details_pb2.DESCRIPTOR.name
# For an answer without a google.rpc.Status: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
_BY_HTTP_STATUS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "UNIMPLEMENTED", 503: "UNAVAILABLE"}


class NotTranscodable(ValueError):
    """A request is malformed, or its names fit no HTTP rule. The message says which."""


@dataclass(frozen=True)
class HttpRequest:
    """A request for the dispatch table. `path` and `query` are escaped, `query` has no question mark."""

    verb: str
    path: str
    query: str
    body: bytes


@dataclass(frozen=True)
class Failure:
    """A failed call: the name of a google.rpc.Code, the message, and the bytes of google.rpc.Status."""

    code: str
    message: str
    status: bytes


def request(rpc: Rpc, content: bytes) -> HttpRequest:
    """Return the HTTP request of a call, or raise NotTranscodable."""
    try:
        message = rpc.request.FromString(content)
    except DecodeError as error:
        raise NotTranscodable(f"The request is no {grpc_schema.name(rpc.request)}: {error}") from None
    try:
        found = path_template.transcode(  # type: ignore[no-untyped-call]
            [dict(rule) for rule in rpc.rules], message=message
        )
    except ValueError:
        wanted = " or ".join(rule["uri"] for rule in rpc.rules)
        raise NotTranscodable(f"The request's names do not fit {wanted}") from None
    body = found.get("body")
    try:
        query = json.loads(json_format.MessageToJson(found["query_params"], use_integers_for_enums=True))
        pairs = rest_helpers.flatten_query_params(query, strict=True)  # type: ignore[no-untyped-call]
        written = b"" if body is None else json_format.MessageToJson(body, use_integers_for_enums=True).encode()
    except (json_format.Error, ValueError, TypeError, RecursionError) as error:
        # Protobuf accepts values that JSON can't represent: a time with 2^31 nanoseconds, a mask's invalid path, an
        # Any of an unknown type.
        raise NotTranscodable(f"The request is no {grpc_schema.name(rpc.request)}: {error}") from None
    # transcode has already escaped the names, so that `team%2Fnested` is escaped twice. Escape only the rest.
    return HttpRequest(found["method"].upper(), quote(found["uri"], safe="/:@!$&'()*+,;=~%"), urlencode(pairs), written)


def answer(rpc: Rpc, content: bytes) -> bytes:
    """Return the call's answer from the body of a successful HTTP answer.

    Raises:
        google.protobuf.json_format.ParseError: if the body is not the call's message, which is a bug of the sandbox.
    """
    message = rpc.answer()
    json_format.Parse(content or b"{}", message, ignore_unknown_fields=True)
    written: bytes = message.SerializeToString()
    return written


def failure(http_status: int, content: bytes) -> Failure:
    """Return the call's failure from an HTTP error."""
    try:
        error: dict[str, Any] = json.loads(content)["error"]
        code, text, details = error["status"], error["message"], error.get("details", [])
    except (ValueError, KeyError, TypeError):
        code = _BY_HTTP_STATUS.get(http_status, "UNKNOWN")
        text, details = content.decode("utf-8", "replace")[:1000], []
    status = status_pb2.Status(code=_NUMBERS.get(code, 2), message=text)
    for detail in details:
        try:
            json_format.ParseDict(detail, status.details.add())
        except json_format.ParseError:
            del status.details[-1]
    written: bytes = status.SerializeToString()  # type: ignore[no-untyped-call]
    return Failure(code if code in _NUMBERS else "UNKNOWN", text, written)


# google/rpc/code.proto
_NUMBERS = {
    "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5, "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "ABORTED": 10, "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15, "UNAUTHENTICATED": 16,
}  # fmt: skip
assert HTTP_STATUS.keys() <= _NUMBERS.keys()  # noqa: S101 - every code that the sandbox uses has its number
