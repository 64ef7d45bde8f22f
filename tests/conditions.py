"""The tests' way to wait for a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from helpers import waiting

T = TypeVar("T")


def until(look: Callable[[], T | None], seconds: float = 60, pause: float = 0.1) -> T:
    """Call `look` until it returns something true, and return that.

    Raises:
        AssertionError: nothing was true in time. The message has the last result.
    """
    for _ in waiting.attempts(seconds, first=pause, longest=pause):
        if found := look():
            return found
    raise AssertionError(f"not within {seconds} s; the last result was {found!r}")
