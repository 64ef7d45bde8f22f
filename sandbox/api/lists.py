"""Lists as Google's APIs give them: in order, and page by page.

`page` cuts a page out of items that are in memory. `read` reads one from SQL: such a page costs what is on it, however
many rows follow. Its token holds the sort key of the last row of its page, so what is inserted or deleted meanwhile
neither repeats nor hides another row, and the next page begins with a look into an index.
Sources: https://google.aip.dev/132 (orderBy), https://google.aip.dev/158 (pages) and, for the fields of
Artifact Registry, facts/artifact-registry.md 1.1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sandbox.api import filters, strict_json
from sandbox.errors import invalid, unknown_field

T = TypeVar("T")

MAX_PAGE = 1000
DEFAULT_PAGE = 100


def answer(key: str, items: Iterable[Any], token: str) -> dict[str, Any]:
    """Return a page as Google writes it: an empty list and an empty token are left out."""
    found = list(items)
    return ({key: found} if found else {}) | ({"nextPageToken": token} if token else {})


def page_size(query: Mapping[str, str]) -> int:
    """How many items a page has; sizes above 1000 are cut to 1000, 0 means the default of 100.

    Raises:
        ApiError: INVALID_ARGUMENT for a negative size, or no number.
    """
    text = query.get("pageSize") or query.get("page_size") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise invalid(f"Invalid page size {text[:40]!r}: it is a number from 0 to {MAX_PAGE}.")
    return min(int(text) or DEFAULT_PAGE, MAX_PAGE)


def page(items: Sequence[T], query: Mapping[str, str], name: Callable[[T], str]) -> tuple[list[T], str]:
    """One page, and the token of the next (empty on the last).

    A token names the last item of its page, so that what is inserted or deleted meanwhile neither repeats nor hides
    another item; when that very item is gone, its place in the order is taken.

    Args:
        items: in their order.
        query: with `pageSize` and `pageToken`.

    Raises:
        ApiError: INVALID_ARGUMENT for a negative size or a token that this list did not give.
    """
    size = page_size(query)
    start = 0
    if token := query.get("pageToken") or query.get("page_token") or "":
        last, place = _read_token(token)
        names = [name(item) for item in items]
        start = names.index(last) + 1 if last in names else min(place, len(items))
    chosen = list(items[start : start + size])
    more = start + size < len(items)
    return chosen, _token(name(chosen[-1]), start + size) if more and chosen else ""


def _token(last: str, place: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([last, place]).encode()).decode()


def _read_token(token: str) -> tuple[str, int]:
    parts = open_token(token)
    if len(parts) != 2 or not isinstance(parts[0], str) or not isinstance(parts[1], int):
        raise invalid("Invalid page token.")
    return parts[0], parts[1]


def open_token(token: str) -> list[str | int]:
    """Return the parts of a page token, each a text or a number that a database holds.

    Raises:
        ApiError: INVALID_ARGUMENT for what is no token.
    """
    try:
        parts = strict_json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        raise invalid("Invalid page token.") from None
    if not isinstance(parts, list) or not all(map(_storable, parts)):
        raise invalid("Invalid page token.")
    return parts


def _storable(part: Any) -> bool:
    return isinstance(part, str) or (type(part) is int and 0 <= part < 2**63)


@dataclass(frozen=True)
class Source:
    """What is listed.

    Attributes:
        statement: a SELECT that ends in its WHERE.
        values: of the statement's question marks.
        unique: columns that tell one row from every other; their order is the order by name.
        orders: what may be ordered by, snake_case field to column; empty where the method has no orderBy.
        fields: what a filter may ask, and how a row answers (`filters.matcher`); empty where it has no filter.
    """

    statement: str
    values: tuple[str, ...]
    unique: tuple[str, ...]
    orders: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Callable[[sqlite3.Row], Any]] = field(default_factory=dict)


def read(rows: sqlite3.Connection, source: Source, query: Mapping[str, str]) -> tuple[list[sqlite3.Row], str]:
    """One page, and the token of the next (empty on the last).

    Args:
        query: with pageSize, pageToken, orderBy and filter. Without a filter no more rows are read than the page holds.

    Raises:
        ApiError: INVALID_ARGUMENT for a page size, a token, an order or a filter that cannot be.
    """
    size = page_size(query)
    _refuse_unknown(source, query)
    wanted = query.get("filter", "")
    keep = filters.matcher(wanted, source.fields) if wanted.strip() else None
    column, descending = _order(source, query.get("orderBy") or query.get("order_by") or "")
    key = (column, *source.unique) if column else source.unique
    about = _fingerprint(source, query, key, descending)
    statement, values = source.statement, [*source.values]
    if token := query.get("pageToken") or query.get("page_token") or "":
        after = _open(token, about, len(key))
        statement += f" AND ({', '.join(key)}) {'<' if descending else '>'} ({', '.join('?' * len(key))})"
        values += after
    statement += " ORDER BY " + ", ".join(f"{name} DESC" if descending else name for name in key)
    if keep is None:
        statement += f" LIMIT {size + 1}"
    chosen: list[sqlite3.Row] = []
    for row in rows.execute(statement, values):
        if keep is not None and not keep(row):
            continue
        if len(chosen) == size:
            return chosen, _seal(about, [chosen[-1][name] for name in key])
        chosen.append(row)
    return chosen, ""


def _refuse_unknown(source: Source, query: Mapping[str, str]) -> None:
    for name, known in (("orderBy", source.orders), ("order_by", source.orders), ("filter", source.fields)):
        if name in query and not known:
            raise unknown_field(
                name, f"Cannot bind query parameter. Field '{name}' could not be found in request message."
            )


def _order(source: Source, text: str) -> tuple[str, bool]:
    """Return the column, empty for the order by name, and whether it descends.

    One field only: "Multi-ordering is not supported yet on backend" (gcloud's command_lib/artifacts/file_util.py).
    """
    words = text.split()
    plain = {field.replace("_", ""): column for field, column in source.orders.items()} | {"name": ""}
    column = plain.get(words[0].replace("_", "").lower()) if words else ""
    if column is None or len(words) > 2 or [word.lower() for word in words[1:]] not in ([], ["asc"], ["desc"]):
        raise invalid(f"Invalid order_by field: {text}")
    return column, [word.lower() for word in words[1:]] == ["desc"]


def _fingerprint(source: Source, query: Mapping[str, str], key: tuple[str, ...], descending: bool) -> str:
    """Return what a token is bound to: one list, filtered and ordered in one way."""
    about = json.dumps([source.statement, source.values, query.get("filter", ""), key, descending])
    return hashlib.sha256(about.encode()).hexdigest()[:12]


def _seal(about: str, key: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([about, *key]).encode()).decode()


def _open(token: str, about: str, length: int) -> list[Any]:
    found, *key = open_token(token) or [""]
    if found != about or len(key) != length:
        raise invalid("Invalid page token: it belongs to another list, filter or order.")
    return key
