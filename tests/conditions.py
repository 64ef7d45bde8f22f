"""Waiting for a condition, in one way for all tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from helpers import waiting

T = TypeVar("T")


def until(look: Callable[[], T | None], seconds: float = 60, pause: float = 0.1) -> T:
    """Look until what is found is true, and return it.

    Raises:
        AssertionError: after so many seconds, with what was found last.
    """
    for _ in waiting.attempts(seconds, first=pause, longest=pause):
        if found := look():
            return found
    raise AssertionError(f"not within {seconds} s; at the end there was {found!r}")
