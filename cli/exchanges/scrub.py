"""Taking out of an exchange with Google whatever could name somebody or open something. Pure functions.

Two readers that share no rule: `Scrubber` replaces what it knows, `leaks` looks at the result for anything that has the
shape of a secret, and is the stricter of the two. What the second one finds, the first one missed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_KEY: Final = r"-----BEGIN [A-Z ]*KEY-----.*?(?:-----END [A-Z ]*KEY-----|$)"
_EMAIL: Final = r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"
# Name of the stand-in to what it replaces, in the order in which they are looked for.
_PATTERNS: Final[tuple[tuple[str, str], ...]] = (
    ("key", _KEY),
    ("token", r"(?i:bearer|basic) +[\w.~+/=-]{8,}|ya29\.[\w.-]+|eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?|1//[\w-]+|AIza[\w-]+"),
    ("email", _EMAIL),
    ("time", r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?|\d{4}-\d\d-\d\d"),
    ("digest", r"sha\d{3}:[0-9a-f]{32,}"),
    ("id", r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
    ("billing", r"(?<![0-9A-Z])[0-9A-Z]{6}-[0-9A-Z]{6}-[0-9A-Z]{6}(?![0-9A-Z])"),
    ("opaque", r"[A-Za-z0-9_=+-]{32,}|(?=[A-Za-z0-9_=+-]*\d)(?=[A-Za-z0-9_=+-]*[A-Z])[A-Za-z0-9_=+-]{16,}"),
    ("number", r"\d{5,}"),
)
# What a recorder may call the names that it knows.
KNOWN: Final = ("project", "number", "title", "region", "repository", "nobody")
_FIELDS: Final = {
    "etag": "<etag>",
    "uniqueId": "<id>",
    "nextPageToken": "<page>",
    "privateKeyData": "<key>",
    **dict.fromkeys(("token", "access_token", "accessToken", "id_token", "refresh_token"), "<token>"),
}
_WORDS: Final = sorted({*KNOWN, "etag", "page", *(name for name, _ in _PATTERNS)})
# Nothing longer: whoever writes a number between such brackets has it replaced all the same.
STAND_IN: Final = re.compile(rf"<(?:{'|'.join(_WORDS)})(?:-[0-9]{{1,3}})?>")
_LARGE: Final = 9999


class Scrubber:
    """Replaces values by stable names: the same value by the same name, numbered by first appearance.

    `names` are those that the recorder knows: value to stand-in, as `{"my-project": "<project>"}`.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = sorted(names.items(), key=lambda pair: (-len(pair[0]), pair[0]))
        self._found: dict[str, dict[str, str]] = {}

    def text(self, text: str) -> str:
        """Return a text without what could name somebody or open something."""
        text = _outside(text, self._known)
        for name, pattern in _PATTERNS:
            text = _outside(text, lambda part, name=name, pattern=pattern: self._replaced(part, name, pattern))  # type: ignore[misc]
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON value, its keys too."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._field(str(key), entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(entry) for entry in value]
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            return value if math.isfinite(value) and abs(value) <= _LARGE and value == int(value) else 0
        raise TypeError(f"{type(value).__name__} is no JSON")

    def _field(self, key: str, entry: Any) -> Any:
        return _FIELDS[key] if key in _FIELDS and isinstance(entry, str | int) else self.value(entry)

    def _known(self, part: str) -> str:
        for value, stand_in in self._names:
            if value and value in part:
                return _outside(part.replace(value, stand_in), self._known)
        return part

    def _replaced(self, part: str, name: str, pattern: str) -> str:
        known = self._found.setdefault(name, {})

        def stand_in(match: re.Match[str]) -> str:
            # A time is a time: that two are the same says nothing.
            return "<time>" if name == "time" else known.setdefault(match[0], f"<{name}-{len(known) + 1}>")

        return re.sub(pattern, stand_in, part, flags=re.DOTALL)


def _outside(text: str, change: Callable[[str], str]) -> str:
    """Return the text with what lies between stand-ins changed."""
    parts, end = [], 0
    for match in STAND_IN.finditer(text):
        parts += [change(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, change(text[end:])])


def leaks(value: Any, names: Mapping[str, str]) -> list[str]:
    """Return what in a scrubbed JSON value still looks like a secret, one phrase each, without the secret itself."""
    # Google's JSON has "@type" for a key, and the address of no one there.
    text = STAND_IN.sub(" ", json.dumps(value, ensure_ascii=False).replace('"@type"', '""'))
    found = [what for what, holds in _signs(text) if holds]
    found += [f"the recorder's own {name.strip('<>')}" for secret, name in names.items() if secret and secret in text]
    return sorted(set(found))


def _signs(text: str) -> Iterator[tuple[str, bool]]:
    yield "an e-mail address", "@" in text
    yield "a number of more than four digits", re.search(r"[0-9]{5}", text) is not None
    yield "a private key", "PRIVATE KEY" in text
    lower = text.lower()
    yield "a token", any(mark in lower for mark in ("ya29.", "eyj", "aiza", "1//", "bearer ey"))
    for word in re.findall(r"[A-Za-z0-9+=_-]{20,}", text):
        mixed = re.search(r"\d", word) and re.search(r"[A-Z]", word) and re.search(r"[a-z]", word)
        yield "a text that nobody can read", bool(mixed) or (len(word) >= 40 and _entropy(word) > 4.2)


def _entropy(word: str) -> float:
    """Bits for each letter."""
    return -sum(count / len(word) * math.log2(count / len(word)) for count in Counter(word).values())
