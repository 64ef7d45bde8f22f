"""Waiting: at once, then in growing pauses, and never past the time given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import waiting


class Clock:
    """Time that passes only while somebody sleeps, and by what the loop's body takes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@given(
    seconds=st.floats(0, 100),
    first=st.floats(0.01, 5),
    longest=st.floats(0.01, 20),
    body=st.floats(0, 3),
)
def test_attempts_pauses_grow_and_end_before_the_deadline(
    seconds: float, first: float, longest: float, body: float
) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(waiting, "time", clock)
        begun = []
        for _ in waiting.attempts(seconds, first=first, longest=longest):
            begun.append(clock.now)
            clock.now += body
    assert begun[0] == 0
    assert all(at <= seconds for at in begun[1:])
    assert clock.pauses == [one for one in clock.pauses if one <= max(first, longest)]
    assert clock.pauses[1:] == [min(one * 2, longest) for one in clock.pauses[:-1]]


def test_attempts_left_early_wait_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    for attempt, _ in enumerate(waiting.attempts(60), start=1):
        if attempt == 3:
            break
    assert clock.pauses == [0.1, 0.2]
