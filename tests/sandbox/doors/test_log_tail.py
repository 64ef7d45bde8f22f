"""TailLogEntries: what a session shows and when, from answers of entries.list that the tests make up."""

from __future__ import annotations

import datetime as dt
import json
import threading
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from sandbox.doors import log_tail
from sandbox.doors.grpc_transcoding import HttpRequest

NOW = dt.datetime(2026, 11, 2, 9, 0, 0, tzinfo=dt.UTC)
ASKED = log_tail.request(["projects/p"], 'resource.type="build"')


def entry(number: int, text: str, seconds: float = 0.0, **more: Any) -> dict[str, Any]:
    at = (NOW + dt.timedelta(seconds=seconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"insertId": f"{number:016x}", "textPayload": text, "timestamp": at, "severity": "INFO", **more}


class Listed:
    """Answers of entries.list, one after the other; the session is over when they are used up."""

    def __init__(self, *answers: list[dict[str, Any]] | tuple[int, bytes], page: int = 1000) -> None:
        self._answers = list(answers)
        self._page = page
        self._rest: list[dict[str, Any]] = []
        self.over = threading.Event()
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: HttpRequest) -> tuple[int, bytes]:
        assert (request.verb, request.path) == ("POST", "/v2/entries:list")
        self.asked.append(json.loads(request.body))
        if not self.asked[-1]["pageToken"]:
            answer = self._answers.pop(0)
            if not self._answers:
                self.over.set()
            if isinstance(answer, tuple):
                return answer
            self._rest = answer
        shown, self._rest = self._rest[: self._page], self._rest[self._page :]
        return 200, json.dumps({"entries": shown} | ({"nextPageToken": "more"} if self._rest else {})).encode()

    def said(self, content: bytes = ASKED) -> list[list[str]]:
        return [log_tail.texts(answer) for answer in log_tail.tail(self, NOW, content, self.over)]


def test_entries_are_shown_once_and_nothing_is_sent_for_nothing() -> None:
    first, second = entry(1, "one"), entry(2, "two", 3)
    listed = Listed([first], [first], [first, second])
    assert listed.said() == [["one"], ["two"]]
    assert listed.asked[0]["resourceNames"] == ["projects/p"]
    assert listed.asked[0]["filter"] == 'resource.type="build"'


def test_what_is_older_than_the_session_stays_out() -> None:
    assert Listed([entry(1, "yesterday", -86400), entry(2, "a moment ago", -4)]).said() == [["a moment ago"]]


def test_all_pages_are_read() -> None:
    found = [entry(number, str(number)) for number in range(1, 6)]
    assert Listed(found, page=2).said() == [["1", "2", "3", "4", "5"]]


def test_a_refusal_of_the_list_is_the_session_s() -> None:
    with pytest.raises(log_tail.Refused) as refused:
        Listed((403, b"{}")).said()
    assert refused.value.status == 403


def test_an_entry_that_is_more_than_text_is_refused_and_not_emptied() -> None:
    with pytest.raises(json_format.ParseError, match="protoPayload"):
        Listed([entry(1, "", protoPayload={"serviceName": "x"})]).said()


def test_bytes_that_are_no_request() -> None:
    with pytest.raises(DecodeError):
        Listed([]).said(b"\xff\xff")
