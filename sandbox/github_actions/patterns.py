"""The filters of `on:`, by branches, tags, paths and types of pull request events.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import re2

_DEFAULT_TYPES = ("opened", "synchronize", "reopened")


def problem(pattern: str) -> str:
    """Return the problem of an invalid pattern, or ""."""
    try:
        _compiled(pattern.removeprefix("!"))
    except ValueError:
        return f"{pattern!r} is no pattern"
    return ""


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    out, place = "", 0
    if not pattern:
        raise ValueError(pattern)
    while place < len(pattern):
        sign = pattern[place]
        if pattern.startswith("**", place):
            out, place = f"{out}.*", place + 2
            # `**/name` also matches `name` itself.
            if pattern.startswith("/", place) and (place == 2 or pattern[place - 3] == "/"):
                out, place = f"{out[:-2]}(.*/)?", place + 1
            continue
        if sign == "*":
            out += "[^/]*"
        elif sign in "?+":
            if not out:
                raise ValueError(pattern)
            out += sign
        elif sign == "[":
            end = pattern.find("]", place)
            inside = pattern[place + 1 : end]
            if end < 0 or not re.fullmatch(r"[A-Za-z0-9-]+", inside):
                raise ValueError(pattern)
            out, place = f"{out}[{inside}]", end
        elif sign == "\\" and place + 1 < len(pattern):
            place += 1
            out += re2.escape(pattern[place])
        else:
            out += re2.escape(sign)
        place += 1
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(out, options=options)
    except re2.error:
        raise ValueError(pattern) from None


def matches(patterns: Iterable[str], name: str) -> bool:
    """Return whether the last pattern that fits a name is one without `!`."""
    chosen = False
    for pattern in patterns:
        if _compiled(pattern.removeprefix("!")).fullmatch(name):
            chosen = not pattern.startswith("!")
    return chosen


@dataclass(frozen=True)
class Filter:
    """The filters of one event, by their names in the workflow."""

    lists: Mapping[str, tuple[str, ...]]

    def matches(self, ref: str, changed: Iterable[str], kind: str = "") -> bool:
        """Return whether an event triggers the workflow.

        Args:
            ref: `refs/heads/…` or `refs/tags/…`. For a pull request, its base branch.
            changed: the paths of the changed files.
            kind: the type of a pull request event.
        """
        if kind and kind not in self.lists.get("types", _DEFAULT_TYPES):
            return False
        what, name = ("tags", ref.removeprefix("refs/tags/")) if ref.startswith("refs/tags/") else ("branches", "")
        name = name or ref.removeprefix("refs/heads/")
        other = "branches" if what == "tags" else "tags"
        if f"{what}-ignore" in self.lists:
            if matches(self.lists[f"{what}-ignore"], name):
                return False
        elif what in self.lists:
            if not matches(self.lists[what], name):
                return False
        elif other in self.lists or f"{other}-ignore" in self.lists:
            return False
        # Filters of paths do not apply to tags.
        if what == "tags":
            return True
        if "paths" in self.lists:
            return any(matches(self.lists["paths"], path) for path in changed)
        if "paths-ignore" in self.lists:
            return any(not matches(self.lists["paths-ignore"], path) for path in changed)
        return True
