"""Sorted and paged lists, as in Google's APIs.

`page` takes a page from items in memory. `read` reads a page from SQL; its cost does not depend on the number of rows
that follow. A token holds the sort key of the last row of its page, so rows that are inserted or deleted meanwhile
neither repeat nor hide another row, and an index finds the start of the next page.
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
from sandbox.errors import invalid

T = TypeVar("T")

MAX_PAGE = 1000
DEFAULT_PAGE = 100


def answer(key: str, items: Iterable[Any], token: str) -> dict[str, Any]:
    """Return a page in Google's form, which omits an empty list and an empty token."""
    found = list(items)
    return ({key: found} if found else {}) | ({"nextPageToken": token} if token else {})


def page_size(query: Mapping[str, str]) -> int:
    """Return the number of items on a page: at most 1000, and 100 if the request has none or 0.

    Raises:
        ApiError: INVALID_ARGUMENT if the size is negative or not a number.
    """
    text = query.get("pageSize") or query.get("page_size") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise invalid(f"Invalid page size {text[:40]!r}: it is a number from 0 to {MAX_PAGE}.")
    return min(int(text) or DEFAULT_PAGE, MAX_PAGE)


def page(items: Sequence[T], query: Mapping[str, str], name: Callable[[T], str]) -> tuple[list[T], str]:
    """Return one page, and the token of the next (empty on the last).

    A token holds the name and the index of the last item. If that item was deleted, the index is used.

    Args:
        items: the whole list, sorted.
        query: with `pageSize` and `pageToken`.

    Raises:
        ApiError: INVALID_ARGUMENT for a negative size or a token of another list.
    """
    size = page_size(query)
    start = 0
    if token := query.get("pageToken") or query.get("page_token") or "":
        parts = open_token(token)
        if len(parts) != 2 or not isinstance(parts[0], str) or not isinstance(parts[1], int):
            raise invalid("Invalid page token.")
        last, index = parts[0], parts[1]
        names = [name(item) for item in items]
        start = names.index(last) + 1 if last in names else min(index, len(items))
    chosen = list(items[start : start + size])
    more = start + size < len(items)
    return chosen, _seal(name(chosen[-1]), start + size) if more and chosen else ""


def _seal(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def open_token(token: str) -> list[str | int]:
    """Return the parts of a page token, each a string or a number that the database can hold.

    Raises:
        ApiError: INVALID_ARGUMENT if it is not a page token.
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
    """The rows of a list.

    Attributes:
        statement: a SELECT that ends in its WHERE.
        values: the statement's parameters.
        unique: columns that identify a row, in the order of the sort by name.
        orders: columns by the snake_case field of an orderBy; empty if the method has no orderBy.
        fields: the fields of a filter (`filters.matcher`); empty if the method has no filter.
    """

    statement: str
    values: tuple[str, ...]
    unique: tuple[str, ...]
    orders: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Callable[[sqlite3.Row], Any]] = field(default_factory=dict)


def read(rows: sqlite3.Connection, source: Source, query: Mapping[str, str]) -> tuple[list[sqlite3.Row], str]:
    """Return one page, and the token of the next (empty on the last).

    Args:
        query: with pageSize, pageToken, orderBy and filter. Without a filter no rows are read beyond the page.

    Raises:
        ApiError: INVALID_ARGUMENT for an invalid page size, token, order or filter.
    """
    size = page_size(query)
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
            return chosen, _seal(about, *(chosen[-1][name] for name in key))
        chosen.append(row)
    return chosen, ""


def _order(source: Source, text: str) -> tuple[str, bool]:
    """Return the column, empty for the sort by name, and whether the sort descends.

    Only one field is allowed: "Multi-ordering is not supported yet on backend" (gcloud's
    command_lib/artifacts/file_util.py).
    """
    words = text.split()
    plain = {field.replace("_", ""): column for field, column in source.orders.items()} | {"name": ""}
    column = plain.get(words[0].replace("_", "").lower()) if words else ""
    if column is None or len(words) > 2 or [word.lower() for word in words[1:]] not in ([], ["asc"], ["desc"]):
        raise invalid(f"Invalid order_by field: {text}")
    return column, [word.lower() for word in words[1:]] == ["desc"]


def _fingerprint(source: Source, query: Mapping[str, str], key: tuple[str, ...], descending: bool) -> str:
    """Return a hash of the list, its filter and its order: a page token is valid for these only."""
    about = json.dumps([source.statement, source.values, query.get("filter", ""), key, descending])
    return hashlib.sha256(about.encode()).hexdigest()[:12]


def _open(token: str, about: str, length: int) -> list[Any]:
    found, *key = open_token(token) or [""]
    if found != about or len(key) != length:
        raise invalid("Invalid page token: it belongs to another list, filter or order.")
    return key
