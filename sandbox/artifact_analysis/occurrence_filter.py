"""The filter of Container Analysis' lists, as gcloud writes it. Pure.

`((kind = "BUILD") OR (kind = "VULNERABILITY")) AND has_prefix(resourceUrl, "https://…")`. Grammar:
https://google.aip.dev/160, of which this is what gcloud's own code sends (facts/gcloud-requests.md 4h to 4j2), and any
field of an occurrence by its path, `vulnerability.effectiveSeverity = "CRITICAL"`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox.errors import invalid

Occurrence = Mapping[str, Any]
Predicate = Callable[[Occurrence], bool]

_TOKEN: Final = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<sign><=|>=|!=|[=:<>])|(?P<mark>[(),])|(?P<word>[^\s()",=:<>!]+))'
)
# Google's filters call it resourceUrl, the message resourceUri.
_FIELDS: Final = {"resourceUrl": "resourceUri", "resource_url": "resourceUri", "resource_uri": "resourceUri"}
_DEPTH: Final = 50  # brackets inside brackets
_SIGNS: Final[dict[str, Callable[[str, str], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ":": operator.contains,
}
_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matcher(text: str) -> Predicate:
    """Return a predicate over occurrences as JSON; an empty filter holds for all.

    Raises:
        ApiError: INVALID_ARGUMENT for a form that is not understood.
    """
    if not text.strip():
        return lambda occurrence: True
    reader = _Reader(text)
    found = reader.either(0)
    reader.end()
    return found


class _Reader:
    """Recursive descent over the tokens: OR binds loosest, a blank between two terms is AND."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._wrong(text[at : at + 40])
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()
        self._at = 0

    def _wrong(self, where: str) -> Exception:
        return invalid(f"Invalid filter {self._text[:300]!r}: cannot read {where!r}.")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, kind: str = "", value: str = "") -> str:
        found = self._peek()
        if (kind and found[0] != kind) or (value and found[1] != value):
            raise self._wrong(found[1] or "its end")
        self._at += 1
        return found[1]

    def end(self) -> None:
        """Nothing may follow."""
        if self._peek()[0] != "end":
            raise self._wrong(self._peek()[1])

    def either(self, depth: int) -> Predicate:
        """Terms joined by OR."""
        if depth > _DEPTH:
            raise self._wrong("so many brackets")
        parts = [self._all(depth)]
        while self._peek() == ("word", "OR"):
            self._take()
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else lambda one: any(part(one) for part in parts)

    def _all(self, depth: int) -> Predicate:
        parts = [self._term(depth)]
        while self._peek() not in (("word", "OR"), ("mark", ")"), ("end", "")):
            if self._peek() == ("word", "AND"):
                self._take()
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else lambda one: all(part(one) for part in parts)

    def _term(self, depth: int) -> Predicate:
        negated = False
        while self._peek() == ("word", "NOT"):
            self._take()
            negated = not negated
        inner = self._plain_term(depth)
        return (lambda one: not inner(one)) if negated else inner

    def _plain_term(self, depth: int) -> Predicate:
        if self._peek() == ("mark", "("):
            self._take()
            inner = self.either(depth + 1)
            self._take("mark", ")")
            return inner
        name = self._take("word")
        if name == "has_prefix":
            self._take("mark", "(")
            path = _path(self._take("word"))
            self._take("mark", ",")
            prefix = self._value()
            self._take("mark", ")")
            return lambda one: str(_at(one, path)).startswith(prefix)
        return _comparison(_path(name), self._take("sign"), self._value())

    def _value(self) -> str:
        kind, value = self._peek()
        if kind not in ("text", "word"):
            raise self._wrong(value or "its end")
        self._take()
        return re.sub(r"\\(.)", r"\1", value[1:-1]) if kind == "text" else value


def _path(name: str) -> tuple[str, ...]:
    return tuple(_FIELDS.get(part, part) for part in name.split("."))


def _at(occurrence: Occurrence, path: tuple[str, ...]) -> Any:
    """Return the value at a path; in a list the first entry's. Empty where there is none, as an unset field reads."""
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


def _comparison(path: tuple[str, ...], sign: str, value: str) -> Predicate:
    def text(one: Occurrence) -> str:
        found = _at(one, path)
        return str(found).lower() if isinstance(found, bool) else str(found)

    compare = _SIGNS.get(sign)
    if compare is not None:
        return lambda one: compare(text(one), value)
    wanted = _order(value)

    def ordered(one: Occurrence) -> bool:
        found = _order(text(one))
        # What is not set is neither more nor less than anything, and a number is not compared with a text.
        return bool(text(one)) and found[0] == wanted[0] and _ORDERS[sign](found, wanted)

    return ordered


def _order(text: str) -> tuple[int, float, str]:
    """Numbers by value; all else (times) as text."""
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
