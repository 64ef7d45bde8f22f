"""Check and evaluate `${{ … }}` expressions of a workflow.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/expressions. Unsupported functions and
contexts are refused by name when the workflow is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CONTEXTS = frozenset({"env", "github", "inputs", "job", "needs", "runner", "steps", "vars"})
_STATUS = frozenset({"always", "cancelled", "failure", "success"})
_FUNCTIONS = _STATUS | {"contains", "endswith", "format", "fromjson", "join", "startswith", "tojson"}
_PLACE = re.compile(r"\$\{\{((?:'[^']*'|(?!\}\})[^'])*)\}\}")
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?))|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||[<>!()\[\],.]))"
)
_DEEPEST = 50


class BadExpression(ValueError):
    """An expression that is malformed or not supported."""


@dataclass(frozen=True)
class Facts:
    """The values that expressions refer to.

    Attributes:
        contexts: `github`, `env`, `steps`, `needs` and so on.
        failed: whether an earlier step or job failed.
    """

    contexts: Mapping[str, Any]
    failed: bool = False


class _Reader:
    """Parse one expression and evaluate it. Without facts, only check it."""

    def __init__(self, text: str, facts: Facts | None) -> None:
        self._text = text
        self._facts = facts
        self._tokens = list(_tokens(text))
        self._place = 0
        self._depth = 0
        self.status = False

    def read(self) -> Any:
        value = self._or()
        if self._place < len(self._tokens):
            raise self._wrong()
        return value

    def _wrong(self) -> BadExpression:
        at = self._tokens[self._place][1] if self._place < len(self._tokens) else "its end"
        return BadExpression(f"unexpected {at} in {self._text.strip()!r}")

    def _next(self, *signs: str) -> str:
        if self._place < len(self._tokens):
            kind, text = self._tokens[self._place]
            if kind == "sign" and text in signs:
                self._place += 1
                return text
        return ""

    def _or(self) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BadExpression("an expression is nested too deeply")
        value = self._and()
        while self._next("||"):
            other = self._and()
            value = value if _true(value) else other
        self._depth -= 1
        return value

    def _and(self) -> Any:
        value = self._compared()
        while self._next("&&"):
            other = self._compared()
            value = other if _true(value) else value
        return value

    def _compared(self) -> Any:
        value = self._not()
        while sign := self._next("==", "!=", "<", "<=", ">", ">="):
            value = _compare(sign, value, self._not())
        return value

    def _not(self) -> Any:
        if self._next("!"):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise BadExpression("an expression is nested too deeply")
            found = not _true(self._not())
            self._depth -= 1
            return found
        return self._primary()

    def _primary(self) -> Any:
        if self._next("("):
            value = self._or()
            if not self._next(")"):
                raise self._wrong()
            return value
        if self._place >= len(self._tokens):
            raise self._wrong()
        kind, text = self._tokens[self._place]
        if kind == "sign":
            raise self._wrong()
        self._place += 1
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return float(int(text, 16)) if text.lower().startswith("0x") else float(text)
        if text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
        if self._next("("):
            return self._inside(self._call(text))[0]
        return self._field(text)

    def _call(self, name: str) -> Any:
        if name.lower() not in _FUNCTIONS:
            raise BadExpression(f"the function {name}() is not one that the workbook's sandbox does")
        values: list[Any] = []
        if not self._next(")"):
            values.append(self._or())
            while self._next(","):
                values.append(self._or())
            if not self._next(")"):
                raise self._wrong()
        if name.lower() in _STATUS:
            self.status = True
            failed = self._facts is not None and self._facts.failed
            return {"always": True, "cancelled": False, "failure": failed, "success": not failed}[name.lower()]
        if not self._facts:
            return None
        least, most, function = _CALLS[name.lower()]
        if not least <= len(values) <= most:
            raise BadExpression(f"a function has {least} to {most} arguments, not {len(values)}")
        return function(*values)

    def _field(self, name: str) -> Any:
        if name not in CONTEXTS:
            raise BadExpression(
                f"the context {name} is not one that the workbook's sandbox has: it has {', '.join(sorted(CONTEXTS))}"
            )
        value, rest = self._inside(self._facts.contexts.get(name) if self._facts else None)
        path = name + rest
        if path in ("github.token", "github"):
            raise BadExpression(f"{path} is not something that the workbook's sandbox gives to a workflow")
        return value

    def _inside(self, value: Any) -> tuple[Any, str]:
        """Follow `.name` and `[…]`. Return the value and its path."""
        path = ""
        while sign := self._next(".", "["):
            if sign == ".":
                kind, key = self._tokens[self._place] if self._place < len(self._tokens) else ("", "")
                if kind != "name":
                    raise self._wrong()
                self._place += 1
            else:
                key = self._or()
                if not self._next("]"):
                    raise self._wrong()
            path += f".{key}"
            value = _member(value, key)
        return value, path


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            raise BadExpression(f"unexpected {text[place:].strip()[:20]!r} in {text.strip()!r}")
        place = match.end()
        yield str(match.lastgroup), match[str(match.lastgroup)]


def _member(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(str(key))
    if isinstance(value, list) and isinstance(key, float) and 0 <= int(key) < len(value):
        return value[int(key)]
    return None


def _true(value: Any) -> bool:
    return bool(value) if not isinstance(value, list | dict) else True


def _compare(sign: str, one: Any, other: Any) -> bool:
    # Strings are compared without regard to case. Values of different types are compared as numbers.
    if isinstance(one, str) and isinstance(other, str):
        one, other = one.lower(), other.lower()
    elif type(one) is not type(other):
        one, other = _number(one), _number(other)
    if sign in ("==", "!="):
        return (one == other) is (sign == "==")
    if not isinstance(one, str | float) or type(one) is not type(other):
        return False
    less, same = one < other, one == other  # type: ignore[operator]
    return {"<": less, "<=": less or same, ">": not less and not same, ">=": not less}[sign]


def _number(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value.strip() or 0)
        except ValueError:
            return float("nan")
    return float("nan") if isinstance(value, list | dict) else float(value or 0)


def shown(value: Any) -> str:
    """Return a value as a string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else str(value)
    return value if isinstance(value, str) else json.dumps(value)


def _contains(where: Any, what: Any) -> bool:
    if isinstance(where, list):
        return any(_compare("==", one, what) for one in where)
    return shown(what).lower() in shown(where).lower()


def _format(*values: Any) -> str:
    pattern, *rest = map(shown, values)

    def put(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if int(match[1]) >= len(rest):
            raise BadExpression(f"format() has no argument {match[1]}")
        return rest[int(match[1])]

    return re.sub(r"\{\{|\}\}|\{(\d{1,2})\}", put, pattern)


def _join(parts: Any, separator: Any = ",") -> str:
    return shown(separator).join(map(shown, parts if isinstance(parts, list) else [parts]))


def _from_json(value: Any) -> Any:
    try:
        return json.loads(shown(value), parse_int=float)
    except ValueError:
        raise BadExpression("fromJSON() was given what is no JSON") from None


# Each function with the least and the most arguments that it takes.
_CALLS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "contains": (2, 2, _contains),
    "endswith": (2, 2, lambda text, end: shown(text).lower().endswith(shown(end).lower())),
    "format": (1, 20, _format),
    "fromjson": (1, 1, _from_json),
    "join": (1, 2, _join),
    "startswith": (2, 2, lambda text, start: shown(text).lower().startswith(shown(start).lower())),
    "tojson": (1, 1, lambda value: json.dumps(value, indent=2)),
}


def check(text: str) -> None:
    """Raise BadExpression for the first expression in a text that is malformed or not supported."""
    for match in _PLACE.finditer(text):
        _Reader(match[1], None).read()
    if "${{" in _PLACE.sub("", text):
        raise BadExpression("${{ without }}")


def check_condition(text: str) -> None:
    """Raise BadExpression for an invalid `if:`, which may lack the braces."""
    _Reader(_bare(text), None).read()


def _bare(text: str) -> str:
    match = _PLACE.fullmatch(text.strip())
    return match[1] if match else text


def fill(text: str, facts: Facts) -> str:
    """Return a text with every expression replaced by its value."""
    return _PLACE.sub(lambda match: shown(_Reader(match[1], facts).read()), text)


def holds(text: str, facts: Facts) -> bool:
    """Return whether an `if:` holds. Without a status function, it holds only if nothing failed before."""
    if not text.strip():
        return not facts.failed
    reader = _Reader(_bare(text), facts)
    value = _true(reader.read())
    return value and (reader.status or not facts.failed)
