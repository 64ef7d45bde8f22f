"""Google's prices in US dollars, with date and source, and their arithmetic. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GB: Final = 10**9  # bytes; unverified whether the bill counts 10^9 or 2^30


@dataclass(frozen=True)
class Price:
    """One line of the price list: `amount` US dollars for each `unit` beyond the `free` amount of a month.

    A billing account has each free amount once, for all its projects.
    """

    name: str
    amount: float
    unit: str
    free: float
    source: str
    as_of: str

    def cost(self, used: float) -> float:
        """Return the US dollars for `used` units in a month, if nothing else uses the free amount."""
        return max(used - self.free, 0.0) * self.amount


_READ: Final = "2026-11-22"

STORAGE: Final = Price("storage", 0.10, "GB-month", 0.5, "https://cloud.google.com/artifact-registry/pricing", _READ)
SCAN: Final = Price("scanning", 0.26, "image", 0, "https://cloud.google.com/artifact-analysis/pricing", _READ)
SCAN_ON_DEMAND: Final = Price(
    "scanning on demand", 0.26, "scan", 0, "https://cloud.google.com/artifact-analysis/pricing", _READ
)
BUILD: Final = Price("builds", 0.006, "minute", 2500, "https://cloud.google.com/build/pricing", _READ)
# Within one location. To the internet, the premium tier's prices apply, which differ by continent (not kept here).
EGRESS_WITHIN: Final = Price(
    "transfer in one location", 0.0, "GB", 0, "https://cloud.google.com/artifact-registry/pricing", _READ
)
ALL: Final = (STORAGE, SCAN, SCAN_ON_DEMAND, BUILD, EGRESS_WITHIN)


def storage(stored: int) -> float:
    """Return the US dollars a month for stored bytes, beyond the free amount."""
    return STORAGE.cost(stored / GB)


def rate(stored: int) -> float:
    """Return the US dollars a month for stored bytes without a free amount."""
    return stored / GB * STORAGE.amount


def images_until_paid(first: int, each: int) -> int:
    """Return how many images the free storage holds if the first adds `first` bytes and each other one `each`.

    Raises ValueError when `each` isn't positive.
    """
    if each <= 0:
        raise ValueError("an image that adds no bytes never fills anything up")
    free = int(STORAGE.free * GB)
    return 0 if first > free else 1 + (free - first) // each


def dollars(amount: float) -> str:
    """Format an amount as `$1.23`, below a cent as `$0.0042`, and below a hundredth of a cent in words."""
    if 0 < amount < 0.0001:
        return "less than $0.0001"
    return f"${amount:.2f}" if amount == 0 or amount >= 0.01 else f"${amount:.4f}"
