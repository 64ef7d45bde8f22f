"""Filters of Container Analysis' lists.

gcloud sends `((kind = "BUILD") OR (kind = "VULNERABILITY")) AND has_prefix(resourceUrl, "https://…")`
(facts/gcloud-requests.md 4h to 4j2). A filter can also compare any other field of an occurrence by its path,
`vulnerability.effectiveSeverity = "CRITICAL"`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox.api import filters

Occurrence = Mapping[str, Any]
Predicate = Callable[[Occurrence], bool]

# The field resourceUri is called resourceUrl in Google's filters.
_FIELDS: Final = {"resourceUrl": "resourceUri", "resource_url": "resourceUri", "resource_uri": "resourceUri"}
_SIGNS: Final[dict[str, Callable[[str, str], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ":": operator.contains,
    "has_prefix": str.startswith,
}


def matcher(text: str) -> Predicate:
    """Return the predicate of a filter over occurrences as JSON, or raise INVALID_ARGUMENT."""
    return filters.parse(text, _comparison)


def _path(name: str) -> tuple[str, ...]:
    return tuple(_FIELDS.get(part, part) for part in name.split("."))


def _at(occurrence: Occurrence, path: tuple[str, ...]) -> Any:
    """Return the value at a path, taking the first entry of a list; empty if there is none."""
    if path == ("noteId",):
        return str(occurrence.get("noteName", "")).rpartition("/")[2]
    if path == ("noteProjectId",):
        return str(occurrence.get("noteName", "projects//")).split("/")[1]
    found: Any = occurrence
    for part in path:
        if isinstance(found, list):
            found = found[0] if found else {}
        words = part.split("_")
        camel = words[0] + "".join(word.capitalize() for word in words[1:])
        found = found.get(camel, "") if isinstance(found, Mapping) else ""
    return found


def _comparison(name: str, sign: str, value: str) -> Predicate:
    path = _path(name)

    def text(one: Occurrence) -> str:
        found = _at(one, path)
        return str(found).lower() if isinstance(found, bool) else str(found)

    compare = _SIGNS.get(sign)
    if compare is not None:
        return lambda one: compare(text(one), value)
    wanted = _order(value)

    def ordered(one: Occurrence) -> bool:
        found = _order(text(one))
        # False for an unset field, and for a number and a text.
        return bool(text(one)) and found[0] == wanted[0] and filters.COMPARISONS[sign](found, wanted)

    return ordered


def _order(text: str) -> tuple[int, float, str]:
    """Return a sort key: numbers sort by value, and everything else (times) as text."""
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
