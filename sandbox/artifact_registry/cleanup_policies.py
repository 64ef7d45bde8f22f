"""Decide which versions a run of the cleanup job deletes, and why it keeps the others. Pure functions.

Rules: https://cloud.google.com/artifact-registry/docs/repositories/cleanup-policy-overview and the messages
CleanupPolicy, CleanupPolicyCondition and CleanupPolicyMostRecentVersions (facts/artifact-registry.md 2).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MAX_POLICIES = 10  # per repository
DAILY_DELETIONS = 300_000  # per repository

TagState = Literal["ANY", "TAGGED", "UNTAGGED"]
Reason = Literal[
    "delete policy", "keep policy", "no policy", "attachment", "immutable tag", "parent index", "daily limit"
]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on versions. All attributes must match; of a list, one prefix must, and an empty list always does.

    Attributes:
        older_than: the version's minimum age since its upload.
        newer_than: its maximum age.
    """

    tag_state: TagState = "ANY"
    tag_prefixes: tuple[str, ...] = ()
    version_name_prefixes: tuple[str, ...] = ()
    package_name_prefixes: tuple[str, ...] = ()
    older_than: dt.timedelta | None = None
    newer_than: dt.timedelta | None = None


@dataclass(frozen=True, slots=True)
class MostRecent:
    """The newest versions of each package; an empty list of prefixes means every package."""

    keep_count: int
    package_name_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One cleanup policy; `rule` is a MostRecent only with `keep`."""

    id: str
    keep: bool
    rule: Condition | MostRecent

    @classmethod
    def of(cls, policy_id: str, message: Mapping[str, Any]) -> Policy:
        """Return the policy in a CleanupPolicy as JSON, with durations such as `2592000s`."""
        rule: Condition | MostRecent
        if "mostRecentVersions" in message:
            recent = message["mostRecentVersions"]
            rule = MostRecent(int(recent.get("keepCount", 0)), tuple(recent.get("packageNamePrefixes", ())))
        else:
            body = message.get("condition", {})
            state = body.get("tagState", "ANY")
            rule = Condition(
                "ANY" if state == "TAG_STATE_UNSPECIFIED" else state,
                tuple(body.get("tagPrefixes", ())),
                tuple(body.get("versionNamePrefixes", ())),
                tuple(body.get("packageNamePrefixes", ())),
                older_than=_duration(body.get("olderThan")),
                newer_than=_duration(body.get("newerThan")),
            )
        return cls(policy_id, message.get("action") == "KEEP", rule)


@dataclass(frozen=True, slots=True)
class Version:
    """The properties of a version on which policies depend.

    Attributes:
        name: `sha256:…`.
        uploaded: the API's createTime.
        parents: indexes in the same package that list it when the run starts.
        attachment: whether it has a subject, so is attached to another version.
    """

    package: str
    name: str
    uploaded: dt.datetime
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    attachment: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """Whether a run deletes a version, and why; `policy` is the id of the policy that decided, or empty."""

    version: Version
    delete: bool
    reason: Reason
    policy: str = ""


def decide(
    policies: Sequence[Policy],
    versions: Iterable[Version],
    now: dt.datetime,
    *,
    immutable_tags: bool = False,
    limit: int = DAILY_DELETIONS,
) -> list[Fate]:
    """Return the fate of each version in one run, in the same order.

    A keep policy overrides every delete policy. A version that matches a delete policy is still kept while an index
    lists it, if it is tagged and tags are immutable, and beyond the daily limit (the oldest are deleted first:
    unverified). Policies do not apply to attachments, which are not among the most recent versions (unverified).
    """
    found = list(versions)
    keeps = sorted((policy for policy in policies if policy.keep), key=lambda policy: policy.id)
    deletes = sorted((policy for policy in policies if not policy.keep), key=lambda policy: policy.id)
    recent = _most_recent([policy for policy in keeps if isinstance(policy.rule, MostRecent)], found)
    fates = [_fate(place, version, keeps, deletes, recent, now, immutable_tags) for place, version in enumerate(found)]
    going = [place for place, fate in enumerate(fates) if fate.delete]
    if len(going) > limit:
        going.sort(key=lambda place: (found[place].uploaded, found[place].package, found[place].name))
        for place in going[limit:]:
            fates[place] = Fate(found[place], False, "daily limit", fates[place].policy)
    return fates


def _fate(
    place: int,
    version: Version,
    keeps: Sequence[Policy],
    deletes: Sequence[Policy],
    recent: Mapping[str, frozenset[int]],
    now: dt.datetime,
    immutable_tags: bool,
) -> Fate:
    if version.attachment:
        return Fate(version, False, "attachment")
    for policy in keeps:
        if place in recent[policy.id] if policy.id in recent else _meets(policy.rule, version, now):
            return Fate(version, False, "keep policy", policy.id)
    for policy in deletes:
        if _meets(policy.rule, version, now):
            if version.tags and immutable_tags:
                return Fate(version, False, "immutable tag", policy.id)
            if version.parents:
                return Fate(version, False, "parent index", policy.id)
            return Fate(version, True, "delete policy", policy.id)
    return Fate(version, False, "no policy")


def _meets(rule: Condition | MostRecent, version: Version, now: dt.datetime) -> bool:
    if isinstance(rule, MostRecent):
        return False
    age = now - version.uploaded
    return (
        (rule.tag_state == "ANY" or (rule.tag_state == "TAGGED") == bool(version.tags))
        and (not rule.package_name_prefixes or version.package.startswith(rule.package_name_prefixes))
        and (not rule.version_name_prefixes or version.name.startswith(rule.version_name_prefixes))
        and (not rule.tag_prefixes or any(tag.startswith(rule.tag_prefixes) for tag in version.tags))
        and (rule.older_than is None or age > rule.older_than)
        and (rule.newer_than is None or age < rule.newer_than)
    )


def _most_recent(policies: Sequence[Policy], versions: Sequence[Version]) -> dict[str, frozenset[int]]:
    """Return the indexes of the versions that each policy keeps; `keep_count` applies per package."""
    if not policies:
        return {}
    packages: dict[str, list[int]] = {}
    for place, version in enumerate(versions):
        if not version.attachment:
            packages.setdefault(version.package, []).append(place)
    for places in packages.values():
        places.sort(key=lambda place: (versions[place].uploaded, versions[place].name), reverse=True)
    kept: dict[str, frozenset[int]] = {}
    for policy in policies:
        if isinstance(policy.rule, MostRecent):
            prefixes, count = policy.rule.package_name_prefixes, policy.rule.keep_count
            kept[policy.id] = frozenset(
                place
                for package, places in packages.items()
                if not prefixes or package.startswith(prefixes)
                for place in places[:count]
            )
    return kept


def _duration(text: str | None) -> dt.timedelta | None:
    return None if text is None else dt.timedelta(seconds=float(text.removesuffix("s")))
