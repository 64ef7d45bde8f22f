"""A checker for the workbook's convention for tags. Pure.

| kind | form | moves |
|---|---|---|
| release | `1.2.0`, `1.3.0-rc.1` (SemVer without a v) | never |
| build | `sha-` and the first 7 digits of the commit | never |
| environment | `staging`, `production` | when something is deployed |
| latest | `latest` | with every push to it; for development only |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from helpers import names

Kind = Literal["release", "build", "environment", "latest"]

ENVIRONMENTS: Final = ("staging", "production")
_NUMBER: Final = r"(?:0|[1-9]\d*)"
# https://semver.org, without build metadata: a tag can't hold the plus sign.
_RELEASE: Final = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?")
_BUILD: Final = re.compile(r"sha-[0-9a-f]{7}")
_BARE: Final = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, order=True)
class Finding:
    """A violation of the convention: the image and tag (or digest), and the reason with what to write instead."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def kind(tag: str) -> Kind | None:
    """Return the kind of a tag, or None if it doesn't follow the convention."""
    if tag == "latest":
        return "latest"
    if tag in ENVIRONMENTS:
        return "environment"
    if _RELEASE.fullmatch(tag):
        return "release"
    return "build" if _BUILD.fullmatch(tag) else None


def why_not(tag: str) -> str:
    """Return why a tag violates the convention, and what to write instead, or "" if it doesn't."""
    if kind(tag):
        return ""
    if _RELEASE.fullmatch(tag.removeprefix("v")):
        return f"a release has no v in front: write {tag.removeprefix('v')}"
    if _BARE.fullmatch(tag):
        return f"a bare commit can be taken for a version or a word: write sha-{tag[:7]}"
    if tag.startswith("sha-"):
        return "a build is sha- and exactly 7 lower-case hexadecimal digits"
    if re.fullmatch(r"\d+(\.\d+)?", tag):
        return "a release has three numbers, as 1.2.0; this one would have to move with every patch"
    if tag.lower() in ("prod", "stage", "live", "stable"):
        return f"environments are called {' and '.join(ENVIRONMENTS)}"
    return "no kind of tag has this form"


def check(versions: Iterable[names.Tagged], *, children: Iterable[names.Digest] = ()) -> tuple[Finding, ...]:
    """Return tags that violate the convention, and tagged versions that lack a required tag, in order of the names.

    `children` are versions that an index lists, which need no tags of their own.
    """
    exempt = frozenset(children)
    found: list[Finding] = []
    for version in versions:
        path = version.image.image.path
        found += [Finding(f"{path}:{tag}", why) for tag in version.tags if (why := why_not(tag))]
        if version.tags and version.image not in exempt:
            found += _lacking(path, version.tags)
    return tuple(sorted(found))


def _lacking(path: str, tags: Sequence[str]) -> list[Finding]:
    kinds = {tag: kind(tag) for tag in tags}
    name = f"{path}:{tags[0]}"
    releases = [tag for tag in tags if kinds[tag] == "release"]
    found = []
    if "build" not in kinds.values():
        found.append(Finding(name, "no sha- tag stands on this version, so nobody can say which commit it is"))
    if len(releases) > 1:
        found.append(Finding(name, f"one version has several releases: {', '.join(releases)}"))
    if kinds.get("production") and not releases:
        found.append(Finding(f"{path}:production", "it stands on a version that is no release"))
    return found
