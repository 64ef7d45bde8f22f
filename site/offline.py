"""Whether built pages keep to themselves: the addresses on other hosts that they would load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# A link (<a href>) may lead away: it is followed by a person. Everything else is fetched by the page itself.
_LOADED: Final = (
    re.compile(
        r"<(?:script|img|iframe|source|audio|video|embed|object|link)\b[^>]*?\b(?:src|srcset|href|data)=[\"']?((?:https?:)?//[^\"'\s>]+)"
    ),
    re.compile(r"@import\s+(?:url\()?[\"']?((?:https?:)?//[^\"')\s]+)"),
    re.compile(r"url\(\s*[\"']?((?:https?:)?//[^\"')\s]+)"),
    re.compile(r"\b(?:fetch|import|importScripts)\(\s*[\"']((?:https?:)?//[^\"']+)"),
)


def loaded_from_elsewhere(text: str) -> list[str]:
    """Return the addresses on other hosts that a page, a style sheet or a script loads by itself."""
    return [found for pattern in _LOADED for found in pattern.findall(text)]


def strangers(folder: Path) -> Iterator[str]:
    """`file: address` of everything below `folder` that is loaded from elsewhere."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".html", ".css", ".js"):
            for address in loaded_from_elsewhere(path.read_text(encoding="utf-8")):
                yield f"{path.relative_to(folder)}: {address}"
