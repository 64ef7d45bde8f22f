"""Compute due dates of findings from the response times of a severity table. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from helpers.scans import Finding

# The source guide's table: CRITICAL before anything is deployed, HIGH within 24 hours, MEDIUM within a week, LOW when
# there is an opportunity. An unspecified severity counts as the worst.
TIMES: Final[Mapping[str, timedelta | None]] = {
    "SEVERITY_UNSPECIFIED": timedelta(0),
    "CRITICAL": timedelta(0),
    "HIGH": timedelta(days=1),
    "MEDIUM": timedelta(days=7),
    "LOW": None,
    "MINIMAL": None,
}


@dataclass(frozen=True, slots=True)
class Due:
    """One finding and the day by which it must be fixed, or None for "when there is an opportunity"."""

    finding: Finding
    day: date | None


def report(findings: Iterable[Finding], found: date, times: Mapping[str, timedelta | None] = TIMES) -> tuple[Due, ...]:
    """Return each finding with its due day, the most urgent first. `found` is the day of the scan."""
    due = []
    for one in findings:
        time = times[one.severity]
        due.append(Due(one, None if time is None else found + time))
    return tuple(sorted(due, key=lambda one: (one.day is None, one.day or found, one.finding.rank, one.finding.id)))


def summary(due: Iterable[Due], found: date) -> list[tuple[str, str, int, int]]:
    """Return rows (severity, due, findings, fixable ones), the most urgent first. `found` is the day of the scan."""
    rows: dict[tuple[str, str], list[Finding]] = {}
    for one in due:
        when = "when convenient" if one.day is None else _after((one.day - found).days)
        rows.setdefault((one.finding.severity, when), []).append(one.finding)
    return [(name, when, len(all_), sum(one.fixable for one in all_)) for (name, when), all_ in rows.items()]


def _after(days: int) -> str:
    return {0: "before it is deployed", 1: "within a day"}.get(days, f"within {days} days")
