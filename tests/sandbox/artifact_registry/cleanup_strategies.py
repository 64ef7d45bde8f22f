"""Random repositories and policy sets, and an oracle that decides by brute force."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import strategies as st

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
PACKAGES = ("web", "web-admin", "team/api", "x")
TAGS = ("production", "staging", "1.2.0", "1.2.1", "sha-abc1234", "sha-abd0000", "latest")
DAY = 86_400

prefixes = st.lists(st.sampled_from(("w", "web", "web-", "team/", "x", "nope")), max_size=2)
tag_prefixes = st.lists(st.sampled_from(("prod", "1.", "1.2.1", "sha-", "sha-abc", "none")), max_size=2)
name_prefixes = st.lists(st.sampled_from(("sha256:0", "sha256:1", "sha256:00", "sha256:f")), max_size=2)
durations = st.integers(0, 40).map(lambda days: f"{days * DAY}s")


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for key, values in (
        ("tagState", st.sampled_from(("ANY", "TAGGED", "UNTAGGED", "TAG_STATE_UNSPECIFIED"))),
        ("tagPrefixes", tag_prefixes),
        ("versionNamePrefixes", name_prefixes),
        ("packageNamePrefixes", prefixes),
        ("olderThan", durations),
        ("newerThan", durations),
    ):
        if draw(st.booleans()) and (value := draw(values)):
            body[key] = value
    return body


@st.composite
def policies(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number in range(draw(st.integers(0, 4))):
        name = f"policy-{number}"
        kind = draw(st.sampled_from(("DELETE", "DELETE", "KEEP", "RECENT")))
        if kind == "RECENT":
            recent: dict[str, Any] = {"keepCount": draw(st.integers(1, 4))}
            if names := draw(prefixes):
                recent["packageNamePrefixes"] = names
            found[name] = {"id": name, "action": "KEEP", "mostRecentVersions": recent}
        else:
            found[name] = {"id": name, "action": kind, "condition": draw(conditions())}
    return found


@st.composite
def repositories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw versions as plain dictionaries. No two have the same upload time; parents are in the same package."""
    found: list[dict[str, Any]] = []
    free = list(TAGS)
    hours = draw(st.lists(st.integers(0, 40 * 24), unique=True, max_size=9))
    for place, hour in enumerate(hours):
        package = draw(st.sampled_from(PACKAGES))
        tags = sorted({draw(st.sampled_from(free)) for _ in range(draw(st.integers(0, 2)))})
        indexes = [one["name"] for one in found if one["package"] == package and not one["attachment"]]
        found.append(
            {
                "package": package,
                "name": f"sha256:{draw(st.integers(0, 255)):02x}{place:062x}",
                "uploaded": NOW - dt.timedelta(hours=hour),
                "tags": tags,
                "parents": [draw(st.sampled_from(indexes))] if indexes and draw(st.integers(0, 3)) == 0 else [],
                "attachment": draw(st.integers(0, 7)) == 0,
            }
        )
    return found


def oracle(
    rules: dict[str, dict[str, Any]], versions: list[dict[str, Any]], now: dt.datetime, immutable: bool
) -> set[str]:
    """Return the names that one run deletes, by set operations on the whole repository."""
    subject = [one for one in versions if not one["attachment"]]

    def matched(rule: dict[str, Any]) -> set[str]:
        if "mostRecentVersions" in rule:
            recent = rule["mostRecentVersions"]
            return {
                one["name"]
                for one in subject
                if any(one["package"].startswith(p) for p in recent.get("packageNamePrefixes", [""]))
                # Fewer newer versions of its package than the count
                and sum(o["package"] == one["package"] and o["uploaded"] > one["uploaded"] for o in subject)
                < recent["keepCount"]
            }
        found = {one["name"] for one in subject}
        for key, value in rule["condition"].items():
            found &= {one["name"] for one in subject if holds(key, value, one)}
        return found

    def holds(key: str, value: Any, one: dict[str, Any]) -> bool:
        seconds = (now - one["uploaded"]).total_seconds()
        match key:
            case "tagState":
                return {"TAGGED": one["tags"] != [], "UNTAGGED": one["tags"] == []}.get(value, True)
            case "tagPrefixes":
                return any(tag[: len(prefix)] == prefix for tag in one["tags"] for prefix in value)
            case "versionNamePrefixes":
                return any(one["name"][: len(prefix)] == prefix for prefix in value)
            case "packageNamePrefixes":
                return any(one["package"][: len(prefix)] == prefix for prefix in value)
            case "olderThan":
                return seconds > int(value[:-1])
            case "newerThan":
                return seconds < int(value[:-1])
        raise AssertionError(key)

    doomed = set().union(*[matched(rule) for rule in rules.values() if rule["action"] == "DELETE"])
    saved = set().union(*[matched(rule) for rule in rules.values() if rule["action"] == "KEEP"])
    held = {one["name"] for one in versions if one["parents"] or (immutable and one["tags"])}
    return doomed - saved - held
