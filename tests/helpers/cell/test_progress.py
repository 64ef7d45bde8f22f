"""Progress bars: every event passes through, and nothing is drawn where nobody looks."""

from __future__ import annotations

import pytest

from helpers.cell import progress

EVENTS = [
    {"status": "The push refers to repository"},
    {"id": "a", "status": "Pushing", "progressDetail": {"current": 10, "total": 100}},
    {"id": "a", "status": "Pushing", "progressDetail": {"current": 130, "total": 100}},
    {"id": "b", "status": "Pushing", "progressDetail": {"current": 5}},
    {"id": "a", "status": "Pushed"},
]


def test_events_pass_through_in_order_and_no_bar_is_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBOOK_PROGRESS", "off")
    assert list(progress.transfer(EVENTS, "Pushing")) == EVENTS
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBOOK_PROGRESS", raising=False)
    assert not progress.wanted()
