"""Parse the filters of lists: https://google.aip.dev/160.

Each API defines what a comparison means (`Compare`), and refuses every form that it does not support.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from sandbox.errors import ApiError, invalid

T = TypeVar("T")
Predicate = Callable[[T], bool]
# Path, sign and value of one comparison. `has_prefix(path, "value")` has the sign `has_prefix`.
Compare = Callable[[str, str, str], Predicate[T]]

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_WORD = re.compile(r'\s*((?:"(?:[^"\\]|\\.)*"|[^\s()",=:<>!])+)')
_SIGN = re.compile(r"\s*(<=|>=|!=|=~|!~|[=:<>])")
_VALUE = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\s()"]+)')
_MARK = re.compile(r"\s*([(),])")
_DEPTH = 50  # nested brackets


def _unreadable(text: str, where: str) -> ApiError:
    return invalid(f"Invalid filter {text[:300]!r}: cannot read {where!r}.")


def parse(text: str, compare: Compare[T], refuse: Callable[[str, str], ApiError] = _unreadable) -> Callable[[T], bool]:
    """Return the predicate of a filter; an empty filter matches everything.

    OR binds tighter than AND, and a blank between two terms means AND, as in AIP-160.

    Args:
        text: the filter.
        compare: returns the predicate of one comparison; raises ApiError for an unsupported field or sign.
        refuse: returns the refusal, given the filter and the part that could not be parsed.

    Raises:
        ApiError: if the filter cannot be parsed.
    """
    return _Reader(text, compare, refuse).read()


class _Reader(Generic[T]):
    """A recursive-descent parser."""

    def __init__(self, text: str, compare: Compare[T], refuse: Callable[[str, str], ApiError]) -> None:
        self._text = text.rstrip()
        self._compare = compare
        self._refuse = refuse
        self._at = 0

    def read(self) -> Predicate[T]:
        if not self._text:
            return lambda item: True
        found = self._every(0)
        if self._at < len(self._text):
            raise self._wrong()
        return found

    def _wrong(self, where: str = "") -> ApiError:
        return self._refuse(self._text, where or self._text[self._at : self._at + 40].strip() or "its end")

    def _peek(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        return match[1] if match else ""

    def _take(self, pattern: re.Pattern[str], wanted: str = "") -> str:
        match = pattern.match(self._text, self._at)
        if match is None or (wanted and match[1] != wanted):
            raise self._wrong()
        self._at = match.end()
        return match[1]

    def _every(self, depth: int) -> Predicate[T]:
        if depth > _DEPTH:
            raise self._wrong("so many brackets")
        parts = [self._any(depth)]
        while self._at < len(self._text) and self._peek(_MARK) != ")":
            if self._peek(_WORD) == "AND":
                self._take(_WORD)
            parts.append(self._any(depth))
        return parts[0] if len(parts) == 1 else lambda item: all(part(item) for part in parts)

    def _any(self, depth: int) -> Predicate[T]:
        parts = [self._term(depth)]
        while self._peek(_WORD) == "OR":
            self._take(_WORD)
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else lambda item: any(part(item) for part in parts)

    def _term(self, depth: int) -> Predicate[T]:
        negated = False
        while self._peek(_WORD) == "NOT":
            self._take(_WORD)
            negated = not negated
        if self._peek(_MARK) == "(":
            self._take(_MARK)
            inner = self._every(depth + 1)
            self._take(_MARK, ")")
        else:
            path = self._take(_WORD).replace('"', "")
            if path in ("AND", "OR"):
                raise self._wrong(path)
            if path.startswith("-"):
                path, negated = path[1:], not negated
            if path == "has_prefix":
                self._take(_MARK, "(")
                path, sign = self._take(_WORD), "has_prefix"
                self._take(_MARK, ",")
                value = self._take(_VALUE)
                self._take(_MARK, ")")
            else:
                sign, value = self._take(_SIGN), self._take(_VALUE)
            inner = self._compare(path, sign, _plain(value))
        return (lambda item: not inner(item)) if negated else inner


def _plain(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def matcher(text: str, fields: Mapping[str, Callable[[T], Any]]) -> Predicate[T]:
    """Return the predicate of a filter over named fields: `name="…*" AND version="…"`, where `*` matches any text.

    Args:
        text: the filter; values are case-insensitive.
        fields: by field name, a function that returns an item's value: a string, a tuple of which one must match, or a
            mapping for `annotations.key`.

    Raises:
        ApiError: INVALID_ARGUMENT for a field that is not in `fields`, or if the filter cannot be parsed.
    """

    def compare(path: str, sign: str, value: str) -> Predicate[T]:
        name, _, key = path.partition(".")
        read = fields.get(name)
        if read is None:
            raise invalid(f"Invalid filter {text[:300]!r}: {name!r} is not one of {', '.join(sorted(fields))}.")
        if sign not in ("=", "!=", ":"):
            raise _unreadable(text, sign)
        # Only `*` is a wildcard here; for fnmatch, `[` and `?` are too.
        pattern = re.compile(fnmatch.translate(re.sub(r"([\[?])", r"[\1]", value)), re.IGNORECASE)

        def holds(item: T) -> bool:
            answer = read(item)
            if isinstance(answer, Mapping):
                answer = answer.get(key, "") if key else " ".join(answer)
            several = answer if isinstance(answer, tuple) else (answer,)
            return any(pattern.fullmatch(str(one)) for one in several) is (sign != "!=")

        return holds

    return parse(text, compare)
