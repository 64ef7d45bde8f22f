"""What cleanup policies would do to a repository, read through the public API, and what that would save.

Rules: https://cloud.google.com/artifact-registry/docs/repositories/cleanup-policy-overview. Nothing here changes a
repository. The daily job itself is Google's, or the sandbox's; that both agree with this reading is tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from helpers import names, prices, show, target
from helpers.fates import Snapshot, Stored, Verdict, about, by_image, decide, kept
from helpers.policies import Condition, Policy, Recent
from helpers.snapshots import now, read

__all__ = ["Preview", "fast_forward", "forecast", "now", "preview", "read"]

# Tags that a cleanup must not take away without somebody looking.
IN_USE: Final = frozenset({"production", "prod", "live", "staging"})


@dataclass(frozen=True)
class Preview:
    """One run, foreseen. `freed` bytes are needed by no version that stays; `warnings` want a person, `notes` don't."""

    snapshot: Snapshot
    at: datetime
    verdicts: tuple[Verdict, ...]
    freed: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def deleted(self) -> tuple[Stored, ...]:
        """The versions that go."""
        return tuple(verdict.version for verdict in self.verdicts if verdict.delete)

    def text(self, rows: int = 40) -> str:
        """A table of at most `rows` versions, newest first in each image (of more, those that go first), and totals."""
        shown = sorted(self.verdicts, key=lambda one: one.version.uploaded, reverse=True)
        shown.sort(key=lambda one: (one.version.image, not one.delete) if len(shown) > rows else (one.version.image,))
        cells = [
            (
                "DELETE" if one.delete else "keep",
                f"{one.version.image}@{one.version.digest[7:15]}",
                ", ".join(one.version.tags) or "-",
                f"{(self.at - one.version.uploaded).days} d",
                show.size(one.version.size),
                one.why,
            )
            for one in shown[:rows]
        ]
        lines = [show.table(cells, ("fate", "version", "tags", "age", "size", "why"))] if cells else ["No versions."]
        if len(shown) > rows:
            lines.append(f"… and {len(shown) - rows} more")
        return "\n".join([*lines, "", self.summary(), *self.remarks()])

    def summary(self) -> str:
        """One line: how many go, and what that frees."""
        most = "" if self.snapshot.shared else "up to about "
        saved = prices.dollars(prices.rate(self.freed))
        return (
            f"{len(self.deleted)} of {len(self.verdicts)} versions go. That frees {most}{show.size(self.freed)}, "
            f"{saved} a month above the free {prices.STORAGE.free} GB."
        )

    def remarks(self) -> list[str]:
        """Warnings and notes, one line each."""
        return [*(f"Warning: {line}" for line in self.warnings), *(f"Note: {line}" for line in self.notes)]

    def json(self) -> dict[str, Any]:
        """The same for machines: camelCase as in Google's API."""
        return {
            "repository": self.snapshot.repository,
            "time": self.at.isoformat(),
            "versions": [
                {
                    "image": one.version.image,
                    "digest": one.version.digest,
                    "tags": list(one.version.tags),
                    "uploadTime": one.version.uploaded.isoformat(),
                    "sizeBytes": one.version.size,
                    "fate": "delete" if one.delete else "keep",
                    "policy": one.policy,
                    "reason": one.reason,
                }
                for one in self.verdicts
            ],
            "deleted": len(self.deleted),
            "freedBytes": self.freed,
            "freedDollarsPerMonth": round(prices.rate(self.freed), 6),
            "layersCountedOnce": self.snapshot.shared,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def preview(snapshot: Snapshot, wanted: Sequence[Policy] | None = None, *, at: datetime | None = None) -> Preview:
    """What the next run would do with the policies `wanted` (None: those in force) at the moment `at` (None: now)."""
    rules = sorted(snapshot.in_force if wanted is None else wanted, key=attrgetter("name"))
    moment = at or snapshot.taken
    verdicts = decide(rules, snapshot.versions, moment, immutable_tags=snapshot.immutable_tags)
    warnings, notes = _remarks(rules, snapshot, verdicts, moment)
    return Preview(snapshot, moment, tuple(verdicts), _freed(verdicts), tuple(warnings), tuple(notes))


def forecast(snapshot: Snapshot, days: int, wanted: Sequence[Policy] | None = None) -> list[tuple[datetime, Preview]]:
    """The daily runs of the coming days that would delete something, each with its preview."""
    found: list[tuple[datetime, Preview]] = []
    for day in range(1, days + 1):
        moment = snapshot.taken + timedelta(days=day)
        run = preview(snapshot, wanted, at=moment)
        if run.deleted:
            found.append((moment, run))
            gone = {(one.image, one.digest) for one in run.deleted}
            snapshot = replace(snapshot, versions=tuple(_orphaned(snapshot.versions, gone)))
    return found


def fast_forward(days: int = 31, repository: names.Repository | None = None) -> None:
    """Move the sandbox's clock, with every daily cleanup on the way.

    On Google it says what would happen and when, and changes nothing.
    """
    answer = target.admin("clock:advance", {"seconds": days * 86400})
    if answer is not None:
        print(f"{days} days later. The daily cleanup has run {days} times.")
        for run in answer["cleanups"]:
            if run["versions"]:
                what = "would have deleted (dry run)" if run["dryRun"] else "deleted"
                name = run["repository"].rpartition("/")[2]
                print(f"{name}: {what} {len(run['versions'])} versions on {run['time'][:10]}")
        return
    snapshot = read(repository or target.current().repository_name)
    print(
        f"Google's clock can't be moved. Nothing was changed. In the next {days} days the daily cleanup would do this:"
    )
    runs = forecast(snapshot, days)
    for moment, run in runs:
        what = "report" if snapshot.dry_run else "delete"
        print(f"{moment.date()}, within about a day: {what} {len(run.deleted)} versions, {show.size(run.freed)}")
    if not runs:
        print("nothing" if snapshot.in_force else "nothing: the repository has no cleanup policies")


def _freed(verdicts: Iterable[Verdict]) -> int:
    """Bytes of the blobs that only versions that go need."""
    listed = list(verdicts)
    staying = {digest for one in listed if not one.delete for digest, _ in one.version.blobs}
    going: Mapping[str, int] = {digest: size for one in listed if one.delete for digest, size in one.version.blobs}
    return sum(size for digest, size in going.items() if digest not in staying)


def _orphaned(versions: Iterable[Stored], gone: set[tuple[str, str]]) -> list[Stored]:
    """What is left when `gone` went."""
    return [
        replace(one, parents=tuple(parent for parent in one.parents if (one.image, parent) not in gone))
        for one in versions
        if (one.image, one.digest) not in gone
    ]


def _remarks(
    rules: Sequence[Policy], snapshot: Snapshot, verdicts: Sequence[Verdict], moment: datetime
) -> tuple[list[str], list[str]]:
    """Warnings, and notes. Ages are left out where the question is whether a policy can ever match."""
    warnings, notes = [], []
    ageless = {rule.name: _ageless(rule) for rule in rules}
    doomed: set[int] = set()
    hit: dict[str, int] = {rule.name: 0 for rule in rules}
    versions = snapshot.versions
    groups = by_image(versions)
    for image, places in groups.items():
        for rule in about([ageless[one.name] for one in rules], image, keep=False):
            matched = kept(rule.rule, versions, places, moment)
            hit[rule.name] += len(matched)
            doomed |= matched
    for image, places in groups.items():
        for rule in about([ageless[one.name] for one in rules], image, keep=True):
            hit[rule.name] += len(kept(rule.rule, versions, places, moment) & doomed)
    if rules and all(rule.keep for rule in rules):
        warnings.append("No policy deletes anything. Keep policies alone delete nothing.")
    for rule in rules:
        if versions and not hit[rule.name]:
            warnings.append(_idle(rule, versions, groups))
    named = sorted(
        {f"{one.version.image}:{tag}" for one in verdicts if one.delete for tag in one.version.tags if tag in IN_USE}
    )
    if named:
        warnings.append(
            f"What is in use would go: {', '.join(named)}. Add a Keep policy with these tags as tagPrefixes."
        )
    staying = {one.version.image for one in verdicts if not one.delete}
    emptied = sorted(image for image in groups if image not in staying)
    if emptied:
        warnings.append(f"Not one version of {', '.join(emptied)} would be left.")
    waiting = len(doomed) and not any(one.delete for one in verdicts)
    if waiting:
        notes.append("Nothing goes today: what the delete policies look for is too young, kept, or in an index.")
    if not snapshot.shared:
        notes.append("Layers were not read: shared ones are counted for each version that needs them.")
    return warnings, notes


def _ageless(rule: Policy) -> Policy:
    if isinstance(rule.rule, Recent) or (rule.keep and rule.rule.newer):
        return rule
    return replace(rule, rule=replace(rule.rule, older=None, newer=None))


def _idle(rule: Policy, versions: Sequence[Stored], groups: Mapping[str, list[int]]) -> str:
    """Why a policy does nothing."""
    prefixes = rule.rule.packages
    if prefixes and not any(image.startswith(prefixes) for image in groups):
        return f"Policy {rule.name} never matches: no image's name begins with {' or '.join(prefixes)}."
    if rule.keep:
        return f"Policy {rule.name} keeps nothing that a delete policy would take."
    untagged = isinstance(rule.rule, Condition) and rule.rule.tagged is False
    if untagged and all(one.tags for one in versions if not one.attachment):
        return (
            f"Policy {rule.name} never matches: it looks for untagged versions, and all {len(versions)} have a tag. "
            "A build that keeps its SHA tag never becomes untagged."
        )
    return f"Policy {rule.name} never matches: no version meets its condition, at any age."
