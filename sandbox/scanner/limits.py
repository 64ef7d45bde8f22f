"""What one scan may use: bytes, entries, time. Images come from strangers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

PLACE: Final = 1024  # bytes that a remembered name takes, whatever it holds


class LimitExceeded(ValueError):
    """The image is larger, or takes longer, than a scan allows. The message names the limit."""


@dataclass(frozen=True)
class Limits:
    """What one scan may use, all layers together.

    Attributes:
        unpacked: bytes after decompression.
        entries: members of all archives.
        file: bytes of one file that is read.
        kept: bytes of all files that are read, and `PLACE` for each.
        seconds: of wall time.
    """

    unpacked: int = 16 << 30
    entries: int = 2_000_000
    file: int = 32 << 20
    kept: int = 128 << 20
    seconds: float = 60.0


@dataclass
class Budget:
    """What is left of the limits; one for each scan."""

    limits: Limits = field(default_factory=Limits)
    unpacked: int = 0
    entries: int = 0
    kept: int = 0
    started: float = field(default_factory=time.monotonic)

    def spend(self, *, unpacked: int = 0, entries: int = 0, kept: int = 0) -> None:
        """Count what was used.

        Raises:
            LimitExceeded: when it is more than a limit allows.
        """
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
