"""The sandbox's clock, which can be fixed and moved.

Uploads, ages and daily jobs follow this clock. Tokens, JWTs and TLS certificates follow the wall clock, because the
clients that check them do.
"""

from __future__ import annotations

import datetime as dt
import threading

_CHECK_SECONDS = 0.5  # between checks whether to stop waiting


class Clock:
    """The wall clock plus an offset, or a fixed time that ticks one second at each change of the world.

    Args:
        fixed: timezone-aware start of a fixed clock; None follows the wall clock.
        offset: from earlier time travel.
    """

    def __init__(self, fixed: dt.datetime | None = None, offset: dt.timedelta = dt.timedelta()) -> None:
        if fixed is not None and fixed.tzinfo is None:
            raise ValueError("a fixed clock needs a timezone, for example 2026-11-02T09:00:00Z")
        self._fixed = fixed
        self._offset = offset
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)

    def now(self) -> dt.datetime:
        """Return the sandbox's time in UTC."""
        with self._lock:
            base = self._fixed if self._fixed is not None else dt.datetime.now(dt.UTC)
            return base + self._offset

    def tick(self) -> None:
        """Move a fixed clock by one second, so that no two changes have the same time. A running clock ignores it."""
        with self._lock:
            if self._fixed is not None:
                self._fixed += dt.timedelta(seconds=1)
                self._moved.notify_all()

    def advance(self, delta: dt.timedelta) -> dt.datetime:
        """Move the clock forward, and return the new time.

        Raises:
            ValueError: if `delta` is negative.
        """
        if delta < dt.timedelta():
            raise ValueError("the clock only moves forward")
        with self._lock:
            self._offset += delta
            self._moved.notify_all()
        return self.now()

    def wait_until(self, moment: dt.datetime, stopping: threading.Event) -> None:
        """Wait until this clock reaches a moment, or until `stopping` is set."""
        while not stopping.is_set() and (left := (moment - self.now()).total_seconds()) > 0:
            with self._moved:
                self._moved.wait(min(left, _CHECK_SECONDS))

    @property
    def offset(self) -> dt.timedelta:
        """The sum of all moves so far."""
        return self._offset


def timestamp(moment: dt.datetime) -> str:
    """Return the moment in the format of Google's APIs: `2026-11-02T09:00:00.000000Z`."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
