"""Cloud Logging's streaming call TailLogEntries, with which `gcloud beta builds submit` shows a build's log.

Source: google/logging/v2/logging.proto and log_entry.proto (names, types and numbers of fields), and for the limit
https://cloud.google.com/logging/quotas. The entries come from entries.list, which checks the caller's permissions.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from google.api import monitored_resource_pb2  # type: ignore[import-untyped]
from google.logging.type import log_severity_pb2  # type: ignore[import-untyped]
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, json_format, message_factory, timestamp_pb2

from sandbox.doors.grpc_transcoding import HttpRequest

PATH: Final = "/google.logging.v2.LoggingServiceV2/TailLogEntries"
HOST: Final = "logging.googleapis.com"
SESSIONS: Final = 10  # open at the same time
_LOOK_SECONDS: Final = 0.5
# On Google a build waits some seconds for a machine, so that gcloud's session is open when it begins. Here it begins
# immediately, and a busy machine takes seconds to open the session.
_EARLIER: Final = dt.timedelta(seconds=10)

_FILES: Final[tuple[Any, ...]] = (monitored_resource_pb2, log_severity_pb2, duration_pb2, timestamp_pb2)
_TIME: Final = ".google.protobuf.Timestamp"
_MESSAGES: Final = {
    "LogEntry": {
        "text_payload": (3, "STRING", ""),
        "insert_id": (4, "STRING", ""),
        "resource": (8, "MESSAGE", ".google.api.MonitoredResource"),
        "timestamp": (9, "MESSAGE", _TIME),
        "severity": (10, "ENUM", ".google.logging.type.LogSeverity"),
        "log_name": (12, "STRING", ""),
        "receive_timestamp": (24, "MESSAGE", _TIME),
    },
    "TailRequest": {
        "resource_names": (1, "STRING", ""),
        "filter": (2, "STRING", ""),
        "buffer_window": (3, "MESSAGE", ".google.protobuf.Duration"),
    },
    "TailAnswer": {"entries": (1, "MESSAGE", ".workbook.logging.LogEntry")},
}
_REPEATED: Final = frozenset({"resource_names", "entries"})

Ask = Callable[[HttpRequest], tuple[int, bytes]]


class Refused(Exception):
    """A refusal of entries.list, with the HTTP status and the body."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


@functools.cache
def _types() -> Mapping[str, Any]:
    """Return the messages' classes, since Google's package for them is not installed. Names are not transmitted."""
    file = {
        "name": "workbook/logging.proto",
        "package": "workbook.logging",
        "syntax": "proto3",
        "dependency": [one.DESCRIPTOR.name for one in _FILES],
        "messageType": [
            {
                "name": message,
                "field": [
                    {
                        "name": name,
                        "number": number,
                        "type": f"TYPE_{kind}",
                        **({"typeName": of} if of else {}),
                        "label": "LABEL_REPEATED" if name in _REPEATED else "LABEL_OPTIONAL",
                    }
                    for name, (number, kind, of) in fields.items()
                ],
            }
            for message, fields in _MESSAGES.items()
        ],
    }
    pool = descriptor_pool.Default()
    written: Any = descriptor_pb2.FileDescriptorProto()  # type: ignore[attr-defined]
    pool.AddSerializedFile(json_format.ParseDict(file, written).SerializeToString())
    found = (pool.FindMessageTypeByName(f"workbook.logging.{name}") for name in _MESSAGES)
    return {one.name: message_factory.GetMessageClass(one) for one in found}


def request(names: list[str], wanted: str) -> bytes:
    """Return the bytes of a request, as a client sends it."""
    return bytes(_types()["TailRequest"](resource_names=names, filter=wanted).SerializeToString())


def texts(answer: bytes) -> list[str]:
    """Return the texts of an answer's entries."""
    return [entry.text_payload for entry in _types()["TailAnswer"].FromString(answer).entries]


def tail(ask: Ask, now: dt.datetime, content: bytes, over: threading.Event) -> Iterator[bytes]:
    """Yield an answer whenever there are new entries, until it is over.

    The session includes the entries of the ten seconds before it. The buffer window, which sorts the entries of many
    machines, has no effect, because one sandbox writes all entries.

    Raises:
        google.protobuf.message.DecodeError: for a malformed request.
        google.protobuf.json_format.ParseError: for an entry that is more than a text, such as an audit log's.
        Refused: if entries.list refuses.
    """
    wanted = _types()["TailRequest"].FromString(content)
    since, last = now - _EARLIER, ""
    while True:
        entries = list(_entries(ask, list(wanted.resource_names), wanted.filter))
        fresh = [
            one for one in entries if one["insertId"] > last and dt.datetime.fromisoformat(one["timestamp"]) >= since
        ]
        last = max((one["insertId"] for one in entries), default=last)
        if fresh:
            yield bytes(json_format.ParseDict({"entries": fresh}, _types()["TailAnswer"]()).SerializeToString())
        if over.wait(_LOOK_SECONDS):
            return


def _entries(ask: Ask, names: list[str], wanted: str) -> Iterator[dict[str, Any]]:
    body = {"resourceNames": names, "filter": wanted, "orderBy": "timestamp asc", "pageSize": 1000, "pageToken": ""}
    while True:
        status, content = ask(HttpRequest("POST", "/v2/entries:list", "", json.dumps(body).encode()))
        if status >= 400:
            raise Refused(status, content)
        found = json.loads(content)
        yield from found.get("entries", ())
        body["pageToken"] = found.get("nextPageToken", "")
        if not body["pageToken"]:
            return
