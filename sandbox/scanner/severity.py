"""Grafeas' severities, from CVSS vectors and from the words of distributions.

Bands: https://www.first.org/cvss/v4.0/specification-document "Qualitative Severity Rating Scale". # unverified: that
Google's scanner shows MINIMAL for a score of 0
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from cvss.cvss2 import CVSS2
from cvss.cvss3 import CVSS3
from cvss.cvss4 import CVSS4
from cvss.exceptions import CVSSError

UNSPECIFIED: Final = "SEVERITY_UNSPECIFIED"
ORDER: Final = (UNSPECIFIED, "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")

# https://security-team.debian.org/security_tracker.html "Severity levels", and GitHub's names.
_WORDS: Final = {
    "unimportant": "MINIMAL",
    "negligible": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "moderate": "MEDIUM",
    "high": "HIGH",
    "critical": "CRITICAL",
}
_READERS: Final = (("CVSS:4.0/", CVSS4), ("CVSS:3.", CVSS3), ("", CVSS2))


def from_word(word: str) -> str:
    """Return the severity for a word: `MODERATE` is MEDIUM; an unknown word is SEVERITY_UNSPECIFIED."""
    return _WORDS.get(word.strip().lower(), UNSPECIFIED)


def score(vector: str) -> float | None:
    """Return the base score of a CVSS 2, 3.x or 4.0 vector, or None for another text."""
    for start, reader in _READERS:
        if vector.startswith(start):
            try:
                return float(str(reader(vector).base_score))
            except CVSSError:
                return None
    return None


def parts(vector: str) -> tuple[float, float] | None:
    """Return exploitability and impact of a CVSS 3 vector with NVD's one decimal, or None for another text."""
    try:
        read: Any = CVSS3(vector)  # type: ignore[no-untyped-call]
    except CVSSError:
        return None
    return round(float(read.esc), 1), round(float(read.isc), 1)


def from_score(value: float) -> str:
    """Return the band of a base score, 0 to 10."""
    for floor, name in ((9.0, "CRITICAL"), (7.0, "HIGH"), (4.0, "MEDIUM"), (0.1, "LOW")):
        if value >= floor:
            return name
    return "MINIMAL"


def highest(severities: Iterable[str]) -> str:
    """Return the worst severity, or SEVERITY_UNSPECIFIED if there are none."""
    return max(severities, key=ORDER.index, default=UNSPECIFIED)
