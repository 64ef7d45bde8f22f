"""What Google's methods take, from their discovery documents of 2026-11-10: names and types, no texts.

`google_messages.json` has for each method of the sandbox the parameters of its query and its message, and for each
message its fields: `!` stands before what Google alone writes, `[]` before a list, `{}` before a map, `=` before one
value of an enum; any other capital letter begins the name of a message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FOUND = json.loads(Path(__file__).with_suffix(".json").read_text())
# The id and the document of each method, `secretmanager.projects.secrets.create secretmanager.v1`, to what it takes.
METHODS: dict[str, dict[str, Any]] = _FOUND["methods"]
_SIMPLE = {
    "string": "some-text",
    "int64": "7",
    "bytes": "c29tZQ==",
    "boolean": True,
    "number": 0.5,
    "time": "2030-01-01T00:00:00Z",
}
_SIMPLE |= {"duration": "90s", "mask": "labels", "any": {"a-key": "a-value"}, "integer": 7}


def fields(document: str, message: str, path: str = "") -> dict[str, str]:
    """The fields of a message, or of the one that stands at a path in it, with their types."""
    found: dict[str, str] = _FOUND["messages"][f"{document}/{message}"]
    head, _, rest = path.partition(".")
    return fields(document, found[head].removeprefix("[]"), rest) if head else found


def example(document: str, kind: str, depth: int = 0) -> Any:
    """A value of a type that no default is."""
    if kind[:2] in ("[]", "{}"):
        inner = example(document, kind[2:], depth)
        return [inner] if kind[0] == "[" else {"a-key": inner}
    if kind.startswith("="):
        return kind[1:]
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    known = {name: one for name, one in _known(document, kind) if not one.startswith("!")}
    return {name: example(document, one, depth + 1) for name, one in list(known.items())[:1] if depth < 3}


def _known(document: str, message: str) -> Iterator[tuple[str, str]]:
    yield from _FOUND["messages"].get(f"{document}/{message}", {}).items()
