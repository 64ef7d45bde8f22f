"""Waiting for what Google does in its own time: ask at once, then again after pauses that grow."""

from __future__ import annotations

import time
from collections.abc import Iterator


def attempts(seconds: float, *, first: float = 0.1, longest: float = 2.0) -> Iterator[None]:
    """Yield at once, then after pauses, until the time is over; the pauses double.

    The body of the loop asks and leaves it when it has its answer; what follows the loop says that none came.

    Args:
        seconds: how long to go on.
        first: the first pause in seconds: short for the sandbox.
        longest: the longest pause in seconds: polite to Google.
    """
    deadline = time.monotonic() + seconds
    pause = first
    yield
    while time.monotonic() + pause < deadline:
        time.sleep(pause)
        yield
        pause = min(pause * 2, longest)
