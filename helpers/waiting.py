"""Poll with pauses that grow."""

from __future__ import annotations

import time
from collections.abc import Iterator


def attempts(seconds: float, *, first: float = 0.1, longest: float = 2.0) -> Iterator[None]:
    """Yield immediately, and then after pauses that double, until the time is over.

    The loop's body polls and leaves the loop on success. The code after the loop handles the failure.

    Args:
        seconds: how long to poll.
        first: the first pause in seconds, which is short for the sandbox.
        longest: the longest pause in seconds, so that Google isn't polled too often.
    """
    deadline = time.monotonic() + seconds
    pause = first
    yield
    while time.monotonic() + pause < deadline:
        time.sleep(pause)
        yield
        pause = min(pause * 2, longest)
