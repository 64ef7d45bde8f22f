"""Read the page of a package in another index, in HTML (PEP 503) or JSON (PEP 691). Pure."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urlsplit

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        anchor = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in anchor:
            self.found.append(anchor)


def read(content: bytes, content_type: str) -> list[dict[str, Any]]:
    """Return the files of a page: `file`, `url` (perhaps relative), `sha256` (perhaps empty) and `requires_python`.

    Leaves out yanked files, which Artifact Registry does not know (unverified).
    """
    if "json" in content_type:
        return list(_json(content))
    anchors = _Anchors()
    anchors.feed(content.decode(errors="replace"))
    return [_entry(anchor) for anchor in anchors.found if "data-yanked" not in anchor]


def _entry(anchor: dict[str, str]) -> dict[str, Any]:
    address, _, fragment = anchor["href"].partition("#")
    kind, _, value = fragment.partition("=")
    return {
        "file": unquote(urlsplit(address).path.rpartition("/")[2]),
        "url": address,
        "sha256": value if kind == "sha256" and _SHA256.fullmatch(value) else "",
        "requires_python": anchor.get("data-requires-python", ""),
    }


def _json(content: bytes) -> list[dict[str, Any]]:
    try:
        files = json.loads(content)["files"]
        return [
            {
                "file": str(one["filename"]),
                "url": str(one["url"]),
                "sha256": value if _SHA256.fullmatch(value := str(one.get("hashes", {}).get("sha256", ""))) else "",
                "requires_python": str(one.get("requires-python") or ""),
            }
            for one in files
            if not one.get("yanked")
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
