"""Find what the built pages would load from other hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Links (<a href>) to other hosts are fine, because a reader follows them. The page itself fetches everything else.
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


def external_loads(folder: Path) -> Iterator[str]:
    """Yield `file: address` for everything that the files below a folder load from other hosts."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".html", ".css", ".js"):
            for address in loaded_from_elsewhere(path.read_text(encoding="utf-8")):
                yield f"{path.relative_to(folder)}: {address}"
