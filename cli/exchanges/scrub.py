"""Remove names and secrets from an exchange with Google. Pure.

`Scrubber` replaces what it recognises, and `leaks` searches the result for anything that looks like a secret. They
share no rules, and `leaks` is stricter, so that it finds what `Scrubber` misses.
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
# Placeholders and the patterns that they replace, in the order of their application.
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
# The placeholders that a recorder may use for known names.
KNOWN: Final = ("project", "number", "title", "region", "repository", "nobody")
_FIELDS: Final = {
    "etag": "<etag>",
    "uniqueId": "<id>",
    "nextPageToken": "<page>",
    "privateKeyData": "<key>",
    **dict.fromkeys(("token", "access_token", "accessToken", "id_token", "refresh_token"), "<token>"),
}
_WORDS: Final = sorted({*KNOWN, "etag", "page", *(name for name, _ in _PATTERNS)})
# With at most three digits, so that a long number in such brackets is replaced too.
STAND_IN: Final = re.compile(rf"<(?:{'|'.join(_WORDS)})(?:-[0-9]{{1,3}})?>")
_LARGE: Final = 9999


class Scrubber:
    """Replace values by placeholders. The same value gets the same one, numbered by first appearance.

    `names` maps known values to placeholders, as in `{"my-project": "<project>"}`.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = sorted(names.items(), key=lambda pair: (-len(pair[0]), pair[0]))
        self._found: dict[str, dict[str, str]] = {}

    def text(self, text: str) -> str:
        """Return a text without names and secrets."""
        text = _outside(text, self._known)
        for name, pattern in _PATTERNS:
            text = _outside(text, lambda part, name=name, pattern=pattern: self._replaced(part, name, pattern))  # type: ignore[misc]
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON value without names and secrets in its keys and values."""
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
            # Times aren't numbered, because it doesn't matter whether two are the same.
            return "<time>" if name == "time" else known.setdefault(match[0], f"<{name}-{len(known) + 1}>")

        return re.sub(pattern, stand_in, part, flags=re.DOTALL)


def _outside(text: str, change: Callable[[str], str]) -> str:
    """Return the text with the parts between placeholders changed."""
    parts, end = [], 0
    for match in STAND_IN.finditer(text):
        parts += [change(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, change(text[end:])])


def leaks(value: Any, names: Mapping[str, str]) -> list[str]:
    """Return a phrase, without the secret itself, for each thing in a scrubbed value that looks like a secret."""
    # "@type" is a key in Google's JSON, not an e-mail address.
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
    """Return the bits per letter."""
    return -sum(count / len(word) * math.log2(count / len(word)) for count in Counter(word).values())
