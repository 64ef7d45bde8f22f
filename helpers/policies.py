"""Parse the file for `gcloud artifacts repositories set-cleanup-policies --policy` strictly, and suggest corrections.

gcloud reads four keys of a policy and sends the rest of `condition` unchecked. It silently drops other keys, which
this module reports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

MOST: Final = 10  # policies in one repository
_CONDITION: Final[Mapping[str, type[Any]]] = {
    "tagState": str,
    "tagPrefixes": list,
    "versionNamePrefixes": list,
    "packageNamePrefixes": list,
    "olderThan": str,
    "newerThan": str,
}
_RECENT: Final[Mapping[str, type[Any]]] = {"keepCount": int, "packageNamePrefixes": list}
_STATES: Final = ("ANY", "TAGGED", "UNTAGGED")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Common mistakes, and the fields that are meant.
_MEANT: Final = {
    "packageName": "packageNamePrefixes",
    "packageNames": "packageNamePrefixes",
    "packageNamePrefix": "packageNamePrefixes",
    "tagPrefix": "tagPrefixes",
    "versionNamePrefix": "versionNamePrefixes",
    "versionAge": "olderThan",
    "age": "olderThan",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a policy. A version must match all attributes, and one prefix of a tuple that isn't empty."""

    tagged: bool | None = None
    tags: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    older: timedelta | None = None
    newer: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Recent:
    """The newest `count` versions of each package whose name has a prefix in `packages`, or of all packages."""

    count: int
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy of the file."""

    name: str
    keep: bool
    rule: Condition | Recent


class BadPolicies(ValueError):
    """Google would reject the file. `problems` are sentences, `mended` is the probably intended file, or ""."""

    def __init__(self, problems: Sequence[str], mended: str = "") -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.mended = mended


def read(path: Path) -> tuple[Policy, ...]:
    """Return the policies of a file. Raises OSError, and BadPolicies with all problems and a corrected file."""
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Policy, ...]:
    """Return the policies of a file's text. Raises BadPolicies."""
    problems: list[str] = []
    stripped = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    try:
        body = json.loads(stripped)
    except ValueError as error:
        raise BadPolicies([f"The file is no JSON: {error}."]) from None
    if stripped != text:
        problems.append("The file has comments. JSON has none, and gcloud ends with an error while reading it.")
    if not isinstance(body, list) or not all(isinstance(entry, dict) for entry in body):
        raise BadPolicies([*problems, 'Policy file must contain a list of policies: [{"name": …}, …].'])
    if len(body) > MOST:
        problems.append(f"There are {len(body)} policies. A repository takes {MOST}.")
    seen: set[str] = set()
    for place, entry in enumerate(body, 1):
        problems += _problems(entry, str(entry.get("name") or f"number {place}"), seen)
    if problems:
        raise BadPolicies(problems, _dump([_mended(entry) for entry in body]))
    return tuple(_policy(entry) for entry in body)


def from_google(policies: Mapping[str, Any]) -> tuple[Policy, ...]:
    """Return the policies in a repository's `cleanup_policies` from Google's client."""
    found = []
    for name, one in policies.items():
        keep = one.action.name == "KEEP"
        rule: Condition | Recent
        if "most_recent_versions" in one:
            recent = one.most_recent_versions
            rule = Recent(int(recent.keep_count), tuple(recent.package_name_prefixes))
        else:
            wanted = one.condition
            state = wanted.tag_state.name
            rule = Condition(
                tagged={"TAGGED": True, "UNTAGGED": False}.get(state),
                tags=tuple(wanted.tag_prefixes),
                versions=tuple(wanted.version_name_prefixes),
                packages=tuple(wanted.package_name_prefixes),
                older=wanted.older_than if "older_than" in wanted else None,
                newer=wanted.newer_than if "newer_than" in wanted else None,
            )
        found.append(Policy(name, keep, rule))
    return tuple(found)


def to_google(wanted: Sequence[Policy]) -> dict[str, dict[str, Any]]:
    """Return the policies as a repository's `cleanup_policies` for Google's client, the inverse of `from_google`."""
    found: dict[str, dict[str, Any]] = {}
    for one in wanted:
        body: dict[str, Any] = {"id": one.name, "action": "KEEP" if one.keep else "DELETE"}
        if isinstance(one.rule, Recent):
            body["most_recent_versions"] = {
                "keep_count": one.rule.count,
                "package_name_prefixes": list(one.rule.packages),
            }
        else:
            body["condition"] = {
                "tag_state": {True: "TAGGED", False: "UNTAGGED", None: "ANY"}[one.rule.tagged],
                "tag_prefixes": list(one.rule.tags),
                "version_name_prefixes": list(one.rule.versions),
                "package_name_prefixes": list(one.rule.packages),
                **({} if one.rule.older is None else {"older_than": one.rule.older}),
                **({} if one.rule.newer is None else {"newer_than": one.rule.newer}),
            }
        found[one.name] = body
    return found


def duration(text: str) -> timedelta:
    """Parse `30d`, `12h`, `90m` or `2592000s`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no duration: write a number and s, m, h or d, for example 30d.")
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])


def _problems(entry: Mapping[str, Any], name: str, seen: set[str]) -> list[str]:
    """Return the problems of one policy as sentences."""
    found: list[str] = []
    if not isinstance(entry.get("name"), str) or not 0 < len(entry["name"]) < 128:
        found.append(f"Policy {name} needs a name of 1 to 127 characters.")
    elif entry["name"] in seen:
        found.append(f"Two policies are called {name}: gcloud keeps only the last.")
    seen.add(name)
    action = entry.get("action")
    kind = action.get("type") if isinstance(action, dict) else None
    if not isinstance(kind, str) or kind.upper() not in ("KEEP", "DELETE"):
        found.append(f'Policy {name} needs "action": {{"type": "Keep"}} or {{"type": "Delete"}}.')
    for key in action if isinstance(action, dict) else ():
        if key != "type":
            found.append(f"Policy {name}: {key} stands inside action, where gcloud drops it without a word.")
    for key in entry:
        if key not in ("name", "action", "condition", "mostRecentVersions"):
            found.append(f"Policy {name}: {key} is no field of a policy; gcloud drops it without a word.")
    if ("condition" in entry) == ("mostRecentVersions" in entry):
        found.append(
            f"Policy {name} needs either condition or mostRecentVersions beside action, not both and not none."
        )
    if "mostRecentVersions" in entry and str(kind).upper() == "DELETE":
        found.append(f"Policy {name}: mostRecentVersions goes with Keep only.")
    for key, known in (("condition", _CONDITION), ("mostRecentVersions", _RECENT)):
        if key in entry:
            found += _wrong_fields(entry[key], known, name, key)
    return found


def _wrong_fields(body: Any, known: Mapping[str, type[Any]], name: str, where: str) -> list[str]:
    if not isinstance(body, dict):
        return [f"Policy {name}: {where} must be an object."]
    found = []
    for key, value in body.items():
        if key not in known:
            meant = _MEANT.get(key)
            found.append(
                f"Policy {name}: {where} has no field {key}; Google refuses the file."
                + (f" The field is called {meant}." if meant else "")
            )
        elif not isinstance(value, known[key]) or isinstance(value, bool):
            found.append(f"Policy {name}: {where}.{key} must be a {known[key].__name__}.")
        elif known[key] is list and not all(isinstance(one, str) and one for one in value):
            found.append(f"Policy {name}: {where}.{key} must be a list of texts that aren't empty.")
        elif key == "tagState" and value.upper() not in _STATES:
            found.append(f"Policy {name}: tagState is any, tagged or untagged, not {value!r}.")
        elif key in ("olderThan", "newerThan") and not _DURATION.fullmatch(value):
            found.append(f"Policy {name}: {key} is a number and s, m, h or d, for example 30d, not {value!r}.")
        elif key == "keepCount" and value < 1:
            found.append(f"Policy {name}: keepCount is 1 or more.")
    if where == "mostRecentVersions" and "keepCount" not in body:
        found.append(f"Policy {name}: mostRecentVersions needs a keepCount.")
    return found


def _mended(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the policy as it was probably meant, with each field in its place and under its name."""
    given, raw = entry.get("action"), entry.get("condition")
    action = given if isinstance(given, dict) else {}
    condition = {_MEANT.get(key, key): value for key, value in raw.items()} if isinstance(raw, dict) else {}
    for key, kind in _CONDITION.items():
        if kind is list and isinstance(condition.get(key), str):
            condition[key] = [condition[key]]
    recent = entry.get("mostRecentVersions") or action.get("mostRecentVersions")
    fixed: dict[str, Any] = {
        "name": entry.get("name", ""),
        "action": {"type": str(action.get("type", "")).capitalize()},
    }
    if isinstance(recent, dict):
        packages = recent.get("packageNamePrefixes") or condition.get("packageNamePrefixes")
        scope = {"packageNamePrefixes": packages} if packages else {}
        return fixed | {"mostRecentVersions": scope | {"keepCount": recent.get("keepCount", 1)}}
    return fixed | {"condition": {key: value for key, value in condition.items() if key in _CONDITION}}


def _dump(body: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(body, indent=2)


def _policy(entry: Mapping[str, Any]) -> Policy:
    keep = entry["action"]["type"].upper() == "KEEP"
    if "mostRecentVersions" in entry:
        recent = entry["mostRecentVersions"]
        return Policy(entry["name"], keep, Recent(recent["keepCount"], tuple(recent.get("packageNamePrefixes", ()))))
    wanted = entry["condition"]
    rule = Condition(
        tagged={"TAGGED": True, "UNTAGGED": False}.get(wanted.get("tagState", "any").upper()),
        tags=tuple(wanted.get("tagPrefixes", ())),
        versions=tuple(wanted.get("versionNamePrefixes", ())),
        packages=tuple(wanted.get("packageNamePrefixes", ())),
        older=duration(wanted["olderThan"]) if "olderThan" in wanted else None,
        newer=duration(wanted["newerThan"]) if "newerThan" in wanted else None,
    )
    return Policy(entry["name"], keep, rule)
