"""Masked messages: fill one in to send it, and compare an answer with one.

A message is a mapping of paths to values. `[]` stands for any element of a list, `<key>` for any key of a map that
has free keys, and a mask such as `<time>` for what varies from answer to answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_FREE_KEYS = ("labels", "annotations")
_EMPTY = {"empty object": {}, "empty list": []}
_DIGITS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
_MASKS = {
    "<string>": ".*",
    "<value>": ".*",
    "<role>": "roles/.+",
    "<number>": r"-?\d+",
    "<time>": rf"{_DIGITS}(\.\d+)?Z",
    "<etag>": r".+",
    "<email>": r"[^@ ]+@[^@ ]+|allUsers|[\w.-]+",
    "<uri>": r"https?://\S+",
}
_PARTS = {"P": "[^/]+", "L": "[a-z0-9-]+", "X": "[^/]+", "OP": "[^/]+"}

Fields = Mapping[str, Any]


def example(masked: Any) -> Any:
    """A value for a mask; what is no mask stands for itself."""
    if not isinstance(masked, str) or not masked.startswith("<"):
        return masked
    if masked.startswith("<time"):
        return "2026-01-01T00:00:00.000000Z"
    return {"<number>": "1", "<role>": "roles/viewer"}.get(masked, "text")


def _steps(path: str) -> list[str]:
    return path.removeprefix(".").replace("[]", ".[]").replace("{}", ".{}").split(".")


def fill(fields: Fields, value: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The message, with what `value` gives for each path and its mask."""
    filled: dict[str, Any] = {}
    for path, masked in fields.items():
        if path in ("{}", "[]"):
            continue
        _put(filled, _steps(path), _EMPTY.get(masked) if masked in _EMPTY else value(path, masked))
    return filled


def _put(into: dict[str, Any], steps: list[str], value: Any) -> None:
    """Put a value where the path says; a key with a dot in it (`google.subject`) stays one key after its map."""
    step, rest = steps[0], steps[1:]
    if step == "<key>":
        step = "purpose"
    if step in ("attributeMapping",):
        step, rest = step, [".".join(rest)]
    if not rest or rest == ["{}"]:
        into[step] = value
        return
    if rest[0] == "[]":
        if len(rest) == 1:
            into[step] = [value]
            return
        holder = into.setdefault(step, [{}])[0]
        _put(holder, rest[1:], value)
        return
    _put(into.setdefault(step, {}), rest, value)


def flatten(message: Any, path: str = "") -> dict[str, list[Any]]:
    """Path to the values that stand there in a message."""
    found: dict[str, list[Any]] = {}
    for where, value in _leaves(message, path):
        found.setdefault(where, []).append(value)
    return found


def _leaves(message: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(message, dict):
        if not message:
            yield f"{path}{{}}", "empty object"
        free = path.rpartition(".")[2] in _FREE_KEYS
        for key, value in message.items():
            yield from _leaves(value, f"{path}.{'<key>' if free else key}")
    elif isinstance(message, list):
        if not message:
            yield f"{path}[]", "empty list"
        for value in message:
            yield from _leaves(value, f"{path}[]")
    else:
        yield path, message


def fits(masked: Any, value: Any) -> bool:
    """Whether a value is what a mask or a literal stands for."""
    if not isinstance(masked, str):
        return type(masked) is type(value) and masked == value
    if not isinstance(value, str):
        return False
    if match := re.fullmatch(r"<time (\d)>", masked):
        digits = int(match[1])
        # Google leaves out trailing zeros by threes, so a time with fewer digits is none of another kind.
        return bool(re.fullmatch(rf"{_DIGITS}(\.\d{{{digits}}}|\.\d{{3}})?Z", value))
    if masked in _MASKS:
        return bool(re.fullmatch(_MASKS[masked], value, re.DOTALL))
    return bool(re.fullmatch(_pattern(masked), value))


def _pattern(masked: str) -> str:
    """A literal with masked parts (`projects/P/serviceAccounts/X`, `user:<email>`) as an expression."""
    pieces = re.split(r"(<email>|<num>|<id>|(?<![^/])(?:P|L|X|OP)(?![^/?]))", masked)
    return "".join(
        _PARTS.get(piece) or {"<email>": r"\S+", "<num>": r"\d+", "<id>": r"[^/]+"}.get(piece) or re.escape(piece)
        for piece in pieces
    )


def compare(expected: Fields, message: Any) -> list[str]:
    """How a message differs: `missing PATH`, `extra PATH`, `value PATH: expected EXPECTED`."""
    given = flatten(message)
    lines = [f"missing {path}" for path in expected if path not in given]
    lines += [f"extra {path}" for path in given if path not in expected]
    lines += [
        f"value {path}: expected {masked!r}"
        for path, masked in expected.items()
        if path in given and not any(fits(masked, value) for value in given[path])
    ]
    return sorted(lines)
