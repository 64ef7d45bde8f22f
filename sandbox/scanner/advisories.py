"""Match packages with advisories. Pure functions.

Schema and evaluation: https://ossf.github.io/osv-schema/, "affected[].ranges[].events" and "Evaluation".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from packaging.utils import canonicalize_name

from sandbox.scanner import severity, version_order
from sandbox.scanner.version_order import NoOrder

_RANGES: Final = ("ECOSYSTEM", "SEMVER")
# The order of events at the same version
_EVENTS: Final = ("fixed", "limit", "introduced", "last_affected")
_VECTORS: Final = ("CVSS_V4", "CVSS_V3", "CVSS_V2")  # in order of priority


@dataclass(frozen=True)
class Affected:
    """One package in an advisory.

    Attributes:
        ecosystem: `PyPI`, `Debian:12`, `npm`.
        ranges: the events of each range, as (event, version).
        versions: single affected versions.
        urgency: the distribution's own severity, or empty.
    """

    ecosystem: str
    name: str
    ranges: tuple[tuple[tuple[str, str], ...], ...] = ()
    versions: frozenset[str] = frozenset()
    urgency: str = ""


@dataclass(frozen=True)
class Advisory:
    """One advisory.

    Attributes:
        vector: the CVSS vector of the newest version, or empty.
        word: a severity as a word, or empty.
    """

    id: str
    aliases: tuple[str, ...] = ()
    affected: tuple[Affected, ...] = ()
    vector: str = ""
    word: str = ""
    summary: str = ""
    urls: tuple[str, ...] = ()
    published: str = ""
    withdrawn: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The identifier and its aliases."""
        return frozenset((self.id, *self.aliases))


@dataclass(frozen=True)
class Match:
    """One vulnerability in one package, from all advisories about it.

    Attributes:
        id: the CVE if there is one.
        fixed: the first fixed version of this branch, or empty.
        score: CVSS base score, or None.
        assigned: severity by the score.
        effective: the distribution's severity, or by default `assigned` (Grafeas' rule).
    """

    id: str
    aliases: tuple[str, ...]
    name: str
    version: str
    fixed: str
    vector: str
    score: float | None
    assigned: str
    effective: str
    summary: str
    urls: tuple[str, ...]
    published: str = ""


def read(entry: Mapping[str, Any]) -> Advisory:
    """Return an advisory from its OSV JSON, or raise ValueError if it has no id."""
    if not entry.get("id"):
        raise ValueError("an advisory has no id")
    affected = [_affected(one) for one in (entry.get("affected") or ())]
    vectors = {one.get("type", ""): str(one.get("score", "")) for one in _severities(entry)}
    return Advisory(
        id=entry["id"],
        aliases=tuple(entry.get("aliases") or ()),
        affected=tuple(affected),
        vector=next((vectors[kind] for kind in _VECTORS if kind in vectors), ""),
        word=str((entry.get("database_specific") or {}).get("severity") or ""),
        summary=entry.get("summary") or "",
        urls=tuple(one if isinstance(one, str) else one.get("url", "") for one in entry.get("references") or ()),
        published=entry.get("published") or "",
        withdrawn=bool(entry.get("withdrawn")),
    )


def _severities(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    # Some databases have a severity for each affected package instead.
    inner = [one for item in (entry.get("affected") or ()) for one in (item.get("severity") or ())]
    return [*(entry.get("severity") or ()), *inner]


def _affected(item: Mapping[str, Any]) -> Affected:
    package = item.get("package") or {}
    specific = {**(item.get("database_specific") or {}), **(item.get("ecosystem_specific") or {})}
    return Affected(
        ecosystem=package.get("ecosystem", ""),
        name=package.get("name", ""),
        ranges=tuple(
            tuple((kind, str(version)) for event in one.get("events") or () for kind, version in event.items())
            for one in item.get("ranges") or ()
            if one.get("type") in _RANGES
        ),
        versions=frozenset(item.get("versions") or ()),
        urgency=str(specific.get("urgency") or ""),
    )


def is_affected(affected: Affected, version: str) -> bool:
    """Return whether a version is listed or in one of the ranges. A range never includes an invalid version."""
    if version in affected.versions:
        return True
    return any(_in_range(affected.ecosystem, events, version) for events in affected.ranges)


def _in_range(ecosystem: str, events: Sequence[tuple[str, str]], version: str) -> bool:
    try:
        wanted = version_order.key(ecosystem, version)
        ordered = _ordered(ecosystem, events)
    except NoOrder:
        return False
    inside = False
    for kind, at in ordered:
        if kind == "introduced" and (at is None or wanted >= at):
            inside = True
        elif (kind in ("fixed", "limit") and wanted >= at) or (kind == "last_affected" and wanted > at):
            inside = False
    return inside


def _ordered(ecosystem: str, events: Sequence[tuple[str, str]]) -> list[tuple[str, Any]]:
    """Return events sorted by version. `introduced: 0` (here None) is before every version."""
    known: list[tuple[str, Any]] = [
        (kind, None if kind == "introduced" and text == "0" else version_order.key(ecosystem, text))
        for kind, text in events
        if kind in _EVENTS and not (kind == "limit" and text == "*")
    ]
    first = [event for event in known if event[1] is None]
    rest = [event for event in known if event[1] is not None]
    rest.sort(key=lambda event: _EVENTS.index(event[0]))
    rest.sort(key=lambda event: event[1])
    return [*first, *rest]


def first_fixed(affected: Affected, version: str) -> str:
    """Return the lowest fixed version above this one, in the ranges that include it; empty if there is none."""
    found: list[tuple[Any, str]] = []
    for events in affected.ranges:
        if _in_range(affected.ecosystem, events, version):
            wanted = version_order.key(affected.ecosystem, version)
            fixes = [(version_order.key(affected.ecosystem, text), text) for kind, text in events if kind == "fixed"]
            found += [fix for fix in fixes if fix[0] > wanted]
    return min(found, key=lambda fix: fix[0])[1] if found else ""


@dataclass(frozen=True)
class Database:
    """Advisories, indexed by ecosystem and name.

    Attributes:
        taken: the date of the data, `2026-07-23`.
        source: the origin of the data.
    """

    taken: str
    source: str
    advisories: tuple[Advisory, ...]
    _by_package: dict[tuple[str, str], list[tuple[Advisory, Affected]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for advisory in self.advisories:
            for affected in () if advisory.withdrawn else advisory.affected:
                self._by_package.setdefault(_key(affected.ecosystem, affected.name), []).append((advisory, affected))

    def match(self, ecosystem: str, name: str, version: str) -> list[Match]:
        """Return a match for each vulnerability of this version, sorted by identifier."""
        hits = [
            (advisory, affected)
            for advisory, affected in self._by_package.get(_key(ecosystem, name), ())
            if is_affected(affected, version)
        ]
        return sorted((_merged(group, name, version) for group in _same(hits)), key=lambda one: one.id)


def _key(ecosystem: str, name: str) -> tuple[str, str]:
    return ecosystem, canonicalize_name(name) if ecosystem == "PyPI" else name


def _same(hits: Iterable[tuple[Advisory, Affected]]) -> list[list[tuple[Advisory, Affected]]]:
    """Group hits that share an identifier or an alias, and so are one vulnerability."""
    groups: list[tuple[set[str], list[tuple[Advisory, Affected]]]] = []
    for hit in hits:
        names, members = set(hit[0].names), [hit]
        apart = []
        for group in groups:
            if group[0] & names:
                names |= group[0]
                members = [*group[1], *members]
            else:
                apart.append(group)
        groups = [*apart, (names, members)]
    return [members for _, members in groups]


def _merged(group: Sequence[tuple[Advisory, Affected]], name: str, version: str) -> Match:
    names = sorted({name for advisory, _ in group for name in advisory.names})
    identifier = next((one for one in names if one.startswith("CVE-")), min(advisory.id for advisory, _ in group))
    vectors = [(value, one.vector) for one, _ in group if (value := severity.score(one.vector)) is not None]
    score, vector = max(vectors, default=(None, ""))
    if score is not None:
        assigned = severity.from_score(score)
    else:
        assigned = severity.highest(severity.from_word(one.word) for one, _ in group)
    distribution = severity.highest(severity.from_word(affected.urgency) for _, affected in group)
    fixes = [fix for _, affected in group if (fix := first_fixed(affected, version))]
    ecosystem = group[0][1].ecosystem
    return Match(
        id=identifier,
        aliases=tuple(one for one in names if one != identifier),
        name=name,
        version=version,
        # If databases disagree on the first fix, the latest is fixed by all of them.
        fixed=max(fixes, key=lambda text: version_order.key(ecosystem, text), default=""),
        vector=vector,
        score=score,
        assigned=assigned,
        effective=distribution if distribution != severity.UNSPECIFIED else assigned,
        summary=next((one.summary for one, _ in group if one.summary), ""),
        urls=tuple(dict.fromkeys(url for one, _ in group for url in one.urls if url)),
        published=min((one.published for one, _ in group if one.published), default=""),
    )
