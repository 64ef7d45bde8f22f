"""What Google charges, as data with date and source, and the arithmetic of it. Pure; US dollars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GB: Final = 10**9  # bytes; unverified whether the bill counts 10^9 or 2^30


@dataclass(frozen=True)
class Price:
    """One line of the price list: `amount` US dollars for each `unit` beyond what is `free` in a month.

    Free amounts are given once to a billing account, whatever number of projects it pays for.
    """

    name: str
    amount: float
    unit: str
    free: float
    source: str
    as_of: str

    def cost(self, used: float) -> float:
        """US dollars for `used` units in a month, when nothing else uses the free amount."""
        return max(used - self.free, 0.0) * self.amount


_READ: Final = "2026-11-22"

STORAGE: Final = Price("storage", 0.10, "GB-month", 0.5, "https://cloud.google.com/artifact-registry/pricing", _READ)
SCAN: Final = Price("scanning", 0.26, "image", 0, "https://cloud.google.com/artifact-analysis/pricing", _READ)
SCAN_ON_DEMAND: Final = Price(
    "scanning on demand", 0.26, "scan", 0, "https://cloud.google.com/artifact-analysis/pricing", _READ
)
BUILD: Final = Price("builds", 0.006, "minute", 2500, "https://cloud.google.com/build/pricing", _READ)
# Within one location; to the internet the premium tier's prices apply, which differ by continent (not kept here).
EGRESS_WITHIN: Final = Price(
    "transfer in one location", 0.0, "GB", 0, "https://cloud.google.com/artifact-registry/pricing", _READ
)
ALL: Final = (STORAGE, SCAN, SCAN_ON_DEMAND, BUILD, EGRESS_WITHIN)


def storage(stored: int) -> float:
    """US dollars a month for so many bytes, above the free amount."""
    return STORAGE.cost(stored / GB)


def rate(stored: int) -> float:
    """US dollars a month for so many bytes, where the free amount is used up already."""
    return stored / GB * STORAGE.amount


def images_until_paid(first: int, each: int) -> int:
    """How many images fit into the free storage when the first adds `first` bytes and every further one `each`.

    Raises ValueError when further images add nothing.
    """
    if each <= 0:
        raise ValueError("an image that adds no bytes never fills anything up")
    free = int(STORAGE.free * GB)
    return 0 if first > free else 1 + (free - first) // each


def dollars(amount: float) -> str:
    """`$1.23`; below a cent with more digits, as `$0.0042`, and below a hundredth of one in words."""
    if 0 < amount < 0.0001:
        return "less than $0.0001"
    return f"${amount:.2f}" if amount == 0 or amount >= 0.01 else f"${amount:.4f}"
