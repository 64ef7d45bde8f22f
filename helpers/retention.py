"""Predict what cleanup policies would delete from a repository, and what that would save.

Rules: https://cloud.google.com/artifact-registry/docs/repositories/cleanup-policy-overview. Only `put` changes a
repository. A test compares the predictions with the sandbox's daily job.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from google.cloud.artifactregistry_v1 import types

from helpers import names, policies, prices, show, target
from helpers.cell import rich
from helpers.fates import Snapshot, Stored, Verdict, decide, matches, subject
from helpers.policies import Condition, Policy, Recent
from helpers.snapshots import now, read
from helpers.transport import clients

__all__ = ["Preview", "fast_forward", "forecast", "now", "preview", "put", "read", "reported"]

# Tags whose deletion needs a warning.
IN_USE: Final = frozenset({"production", "prod", "live", "staging"})


@dataclass(frozen=True)
class Preview:
    """A predicted run. `freed` are bytes that no remaining version needs. `warnings` need attention, `notes` don't."""

    snapshot: Snapshot
    at: datetime
    verdicts: tuple[Verdict, ...]
    freed: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def deleted(self) -> tuple[Stored, ...]:
        """The versions that would be deleted."""
        return tuple(verdict.version for verdict in self.verdicts if verdict.delete)

    def text(self, rows: int = 40) -> rich.Rich:
        """Return a table of at most `rows` versions with totals, by image, newest first.

        If there are more versions, each image's deleted ones come first.
        """
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
        lines: list[str] = (
            [show.table(cells, ("fate", "version", "tags", "age", "size", "why"))] if cells else ["No versions."]
        )
        if len(shown) > rows:
            lines.append(f"… and {len(shown) - rows} more")
        return rich.lines(*lines, "", self.summary(), *self.remarks())

    def summary(self) -> str:
        """Return one line with the number of deleted versions and what that frees."""
        most = "" if self.snapshot.shared else "up to about "
        saved = prices.dollars(prices.rate(self.freed))
        return (
            f"{len(self.deleted)} of {len(self.verdicts)} versions would be deleted. "
            f"That frees {most}{show.size(self.freed)}, {saved} a month above the free {prices.STORAGE.free} GB."
        )

    def remarks(self) -> list[str]:
        """Return warnings and notes, one line each."""
        return [*(f"Warning: {line}" for line in self.warnings), *(f"Note: {line}" for line in self.notes)]

    def json(self) -> dict[str, Any]:
        """Return the preview as JSON, with camelCase names as in Google's API."""
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
    """Return what a run would do at the moment `at`, by default now.

    It applies the policies `wanted`, by default those in force.
    """
    rules = sorted(snapshot.in_force if wanted is None else wanted, key=attrgetter("name"))
    moment = at or snapshot.taken
    groups = subject(snapshot.versions)
    matched = matches(rules, snapshot.versions, moment)
    verdicts = decide(rules, snapshot.versions, moment, immutable_tags=snapshot.immutable_tags, matched=matched)
    aged = [_ageless(rule) for rule in rules if _ageless(rule) != rule]
    ever = {**matched, **matches(aged, snapshot.versions, moment)}
    freed = _freed(verdicts)
    warnings, notes = _remarks(rules, snapshot, verdicts, ever, groups)
    return Preview(snapshot, moment, tuple(verdicts), freed, tuple(warnings), tuple(notes))


def put(repository: names.Repository, wanted: Sequence[Policy], *, dry_run: bool) -> None:
    """Replace a repository's policies, as `gcloud artifacts repositories set-cleanup-policies` does.

    Raises google.api_core.exceptions.BadRequest, and Forbidden without artifactregistry.repositories.update.
    """
    about = types.Repository(
        name=repository.resource, cleanup_policies=policies.to_google(wanted), cleanup_policy_dry_run=dry_run
    )
    clients.artifact_registry().update_repository(
        repository=about, update_mask={"paths": ["cleanup_policies", "cleanup_policy_dry_run"]}
    )


def reported(repository: names.Repository) -> tuple[names.Digest, ...]:
    """Return the versions that the last dry run would have deleted according to the audit log.

    On Google this requires Data Access audit logs of Artifact Registry. Raises requests.HTTPError.
    """
    query = (
        'protoPayload.serviceName="artifactregistry.googleapis.com" AND '
        f'protoPayload.request.parent="{repository.resource}/packages/-" AND protoPayload.request.validateOnly=true'
    )
    body = {"resourceNames": [repository.project.resource], "filter": query, "orderBy": "timestamp desc"}
    opened = clients.session()
    answer = opened.post("https://logging.googleapis.com/v2/entries:list", json=body, timeout=60)
    answer.raise_for_status()
    entries = answer.json().get("entries", [])
    last = [one for one in entries if one["timestamp"][:10] == entries[0]["timestamp"][:10]]
    listed = [name for one in last for name in one["protoPayload"]["request"]["names"]]
    found = [names.Image.parse(name) for name in listed]
    return tuple(name for name in found if isinstance(name, names.Digest))


def forecast(snapshot: Snapshot, days: int, wanted: Sequence[Policy] | None = None) -> list[tuple[datetime, Preview]]:
    """Return the daily runs of the coming days that would delete something, each with its preview."""
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
    """Advance the sandbox's clock and run the daily cleanups of that time. On Google, print a forecast instead."""
    answer = target.admin("clock:advance", {"seconds": days * 86400})
    if answer is not None:
        print(f"{days} days later. The daily cleanup has run {days} times." if days != 1 else "One day later.")
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


def _freed(verdicts: Sequence[Verdict]) -> int:
    """Return the bytes of blobs that only deleted versions need."""
    seen = {digest for one in verdicts if not one.delete for digest, _ in one.version.blobs}
    total = 0
    for one in verdicts:
        if one.delete:
            for digest, size in one.version.blobs:
                if digest not in seen:
                    seen.add(digest)
                    total += size
    return total


def _orphaned(versions: Iterable[Stored], gone: set[tuple[str, str]]) -> list[Stored]:
    """Return the versions that remain without those in `gone`."""
    return [
        replace(one, parents=tuple(parent for parent in one.parents if (one.image, parent) not in gone))
        for one in versions
        if (one.image, one.digest) not in gone
    ]


def _remarks(
    rules: Sequence[Policy],
    snapshot: Snapshot,
    verdicts: Sequence[Verdict],
    ever: Mapping[str, Collection[int]],
    groups: Mapping[str, list[int]],
) -> tuple[list[str], list[str]]:
    """Return warnings and notes. `ever` has the versions that each policy matches regardless of their age."""
    warnings, notes = [], []
    versions = snapshot.versions
    doomed = {place for rule in rules if not rule.keep for place in ever[rule.name]}
    hit = {rule.name: (doomed.intersection(ever[rule.name]) if rule.keep else ever[rule.name]) for rule in rules}
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
    """Return a warning with the reason why a policy does nothing."""
    prefixes = rule.rule.packages
    if prefixes and not any(image.startswith(prefixes) for image in groups):
        return f"Policy {rule.name} never matches: no image's name begins with {' or '.join(prefixes)}."
    if rule.keep:
        return f"Policy {rule.name} keeps nothing that a delete policy would take."
    seen = [places for image, places in groups.items() if not prefixes or image.startswith(prefixes)]
    looked_at = [versions[place] for places in seen for place in places]
    if isinstance(rule.rule, Condition) and rule.rule.tagged is False and all(one.tags for one in looked_at):
        return (
            f"Policy {rule.name} never matches: it looks for untagged versions, and all {len(looked_at)} have a tag. "
            "A build that keeps its SHA tag never becomes untagged."
        )
    return f"Policy {rule.name} never matches: no version meets its condition, at any age."
