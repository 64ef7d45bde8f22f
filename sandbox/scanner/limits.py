"""Limits of bytes, entries and time for one scan, since images are untrusted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

PLACE: Final = 1024  # bytes that a stored name needs, without its content


class LimitExceeded(ValueError):
    """The image exceeds a limit, which the message names."""


@dataclass(frozen=True)
class Limits:
    """The limits of one scan, for all layers together.

    Attributes:
        unpacked: bytes after decompression.
        entries: members of all archives.
        file: bytes of one wanted file.
        kept: bytes of all wanted files, and `PLACE` for each.
        seconds: wall time.
    """

    unpacked: int = 16 << 30
    entries: int = 2_000_000
    file: int = 32 << 20
    kept: int = 128 << 20
    seconds: float = 60.0


@dataclass
class Budget:
    """The amounts that one scan has used."""

    limits: Limits = field(default_factory=Limits)
    unpacked: int = 0
    entries: int = 0
    kept: int = 0
    started: float = field(default_factory=time.monotonic)

    def spend(self, *, unpacked: int = 0, entries: int = 0, kept: int = 0) -> None:
        """Add used amounts, or raise LimitExceeded."""
        self.unpacked += unpacked
        self.entries += entries
        self.kept += kept
        limits = self.limits
        if self.unpacked > limits.unpacked:
            raise LimitExceeded(f"the layers unpack to more than {limits.unpacked} bytes")
        if self.entries > limits.entries:
            raise LimitExceeded(f"the layers have more than {limits.entries} entries")
        if self.kept > limits.kept:
            raise LimitExceeded(f"the package lists have more than {limits.kept} bytes")
        if time.monotonic() - self.started > limits.seconds:
            raise LimitExceeded(f"the scan took more than {limits.seconds:g} seconds")
