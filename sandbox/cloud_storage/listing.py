"""Lists of objects, with a prefix, a delimiter that folds names into prefixes, bounds, and pages.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from sandbox.cloud_storage.objects import Stored
from sandbox.errors import invalid

_MOST = 1000


@dataclass(frozen=True)
class Page:
    """One page of objects and prefixes, and the token of the next page."""

    items: tuple[Stored, ...]
    prefixes: tuple[str, ...]
    token: str


def page(found: Iterable[Stored], query: QueryParams) -> Page:
    """Return a page of a bucket's objects, which must be sorted by name.

    Raises:
        ApiError: INVALID_ARGUMENT for an invalid size or token.
    """
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start, end = query.get("startOffset", ""), query.get("endOffset", "")
    trailing = query.get("includeTrailingDelimiter", "").lower() == "true"
    size, after = _size(query.get("maxResults", "")), _after(query.get("pageToken", ""))
    entries: dict[str, list[Stored]] = {}
    folded: set[str] = set()
    for stored in found:
        name = stored.name
        if not name.startswith(prefix) or name < start or (end and name >= end):
            continue
        head, sign, rest = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
        # A prefix is one entry, sorted among the names.
        key = f"{prefix}{head}{sign}" if sign else name
        kept = entries.setdefault(key, [])
        if sign:
            folded.add(key)
        if not sign or (trailing and not rest):
            kept.append(stored)
    names = sorted(key for key in entries if key > after)
    chosen = names[:size]
    return Page(
        tuple(stored for key in chosen for stored in entries[key]),
        tuple(key for key in chosen if key in folded),
        base64.urlsafe_b64encode(chosen[-1].encode()).decode() if len(names) > size else "",
    )


def _size(text: str) -> int:
    if not text:
        return _MOST
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise invalid(f"Invalid value for maxResults: {text[:80]}")  # unverified: the sentence
    return min(int(text), _MOST) or _MOST


def _after(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise invalid("Invalid page token.") from None  # unverified: the sentence
