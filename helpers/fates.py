"""The fate of each version in one run of the daily cleanup: keep or delete, by which policy, and why. Pure.

Rules: https://cloud.google.com/artifact-registry/docs/repositories/cleanup-policy-overview.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from helpers.policies import Condition, Policy, Recent

DAILY: Final = 300_000  # deletions by policies, for each repository
_WHY: Final = {
    "keep policy": "kept by {policy}",
    "delete policy": "matches {policy}",
    "no policy": "no policy matches",
    "attachment": "attachments aren't subject to policies",
    "immutable tag": "matches {policy}, but tags are immutable here",
    "parent index": "matches {policy}, but an index lists it: a run after that index went",
    "daily limit": "matches {policy}, but a run deletes at most 300,000: a later run",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One version. `blobs` are (digest, bytes) of all that it needs; `parents` the digests of indexes that list it."""

    image: str
    digest: str
    uploaded: datetime
    tags: tuple[str, ...] = ()
    blobs: tuple[tuple[str, int], ...] = ()
    parents: tuple[str, ...] = ()
    attachment: bool = False

    @property
    def size(self) -> int:
        """Bytes of what it needs, shared or not."""
        return sum(size for _, size in self.blobs)


@dataclass(frozen=True)
class Snapshot:
    """A repository at one moment; `in_force` are its own policies. Without `shared` layers are counted per version."""

    repository: str
    taken: datetime
    versions: tuple[Stored, ...]
    immutable_tags: bool = False
    in_force: tuple[Policy, ...] = ()
    dry_run: bool = False
    shared: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the next run does with a version, the policy that decides it ("" for none), and the kind of reason."""

    version: Stored
    delete: bool
    reason: str
    policy: str = ""

    @property
    def why(self) -> str:
        """The reason as a clause."""
        return _WHY[self.reason].format(policy=self.policy)


def decide(
    rules: Sequence[Policy],
    versions: Sequence[Stored],
    moment: datetime,
    *,
    immutable_tags: bool = False,
    limit: int = DAILY,
) -> list[Verdict]:
    """One run, image by image: only the policies that look at an image are asked about its versions."""
    verdicts: list[Verdict | None] = [None] * len(versions)
    going: list[int] = []
    for image, places in by_image(versions).items():
        keeps = [(rule.name, kept(rule.rule, versions, places, moment)) for rule in about(rules, image, keep=True)]
        deletes = [(rule.name, rule.rule) for rule in about(rules, image, keep=False)]
        for place in places:
            version = versions[place]
            if version.attachment:
                verdicts[place] = Verdict(version, False, "attachment")
                continue
            keeper = next((name for name, places_kept in keeps if place in places_kept), None)
            if keeper is not None:
                verdicts[place] = Verdict(version, False, "keep policy", keeper)
                continue
            doomed = next(
                (name for name, rule in deletes if isinstance(rule, Condition) and _meets(rule, version, moment)), None
            )
            if doomed is None:
                verdicts[place] = Verdict(version, False, "no policy")
            elif immutable_tags and version.tags:
                verdicts[place] = Verdict(version, False, "immutable tag", doomed)
            elif version.parents:
                verdicts[place] = Verdict(version, False, "parent index", doomed)
            else:
                verdicts[place] = Verdict(version, True, "delete policy", doomed)
                going.append(place)
    if len(going) > limit:
        going.sort(key=lambda place: (versions[place].uploaded, versions[place].image, versions[place].digest))
        for place in going[limit:]:
            verdicts[place] = replace(verdicts[place], delete=False, reason="daily limit")  # type: ignore[type-var]
    return [verdict for verdict in verdicts if verdict is not None]


def by_image(versions: Sequence[Stored]) -> dict[str, list[int]]:
    """The places of each image's versions."""
    found: dict[str, list[int]] = {}
    for place, version in enumerate(versions):
        found.setdefault(version.image, []).append(place)
    return found


def about(rules: Sequence[Policy], image: str, *, keep: bool) -> list[Policy]:
    """The keep or delete policies that look at an image."""
    return [
        rule
        for rule in rules
        if rule.keep is keep and (not rule.rule.packages or any(image.startswith(one) for one in rule.rule.packages))
    ]


def kept(rule: Condition | Recent, versions: Sequence[Stored], places: Sequence[int], moment: datetime) -> set[int]:
    """The places among `places`, all of one image, that the rule of a policy about that image matches."""
    subject = [place for place in places if not versions[place].attachment]
    if isinstance(rule, Condition):
        return {place for place in subject if _meets(rule, versions[place], moment)}
    return set(
        heapq.nlargest(rule.count, subject, key=lambda place: (versions[place].uploaded, versions[place].digest))
    )


def _meets(rule: Condition, version: Stored, moment: datetime) -> bool:
    """Whether a version meets a condition, its image's name aside."""
    if rule.tagged is not None and rule.tagged is not bool(version.tags):
        return False
    if rule.older is not None and not version.uploaded < moment - rule.older:
        return False
    if rule.newer is not None and not version.uploaded > moment - rule.newer:
        return False
    if rule.versions and not version.digest.startswith(rule.versions):
        return False
    return not rule.tags or any(tag.startswith(rule.tags) for tag in version.tags)
