"""Pages of rows, read from SQL in their order: a page costs what is on it, whatever stands behind it.

A token holds the sort key of the last row of its page. So what is inserted or deleted meanwhile neither repeats nor
hides another row, and the next page begins with a look into an index.
Sources: https://google.aip.dev/132 (orderBy) and https://google.aip.dev/158 (pages).
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.api import lists
from sandbox.errors import invalid


@dataclass(frozen=True)
class Source:
    """What is listed.

    Attributes:
        statement: a SELECT that ends in its WHERE.
        values: of the statement's question marks.
        unique: columns that tell one row from every other; their order is the order by name.
        orders: what may be ordered by, snake_case field to column; empty where the method has no orderBy.
        fields: what a filter may ask, and how a row answers (`listing.matcher`); empty where it has no filter.
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
    size = lists.page_size(query)
    _refuse_unknown(source, query)
    wanted = query.get("filter", "")
    keep = lists.matcher(wanted, source.fields) if wanted.strip() else None
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


def answer(key: str, items: Sequence[Mapping[str, Any]], token: str) -> dict[str, Any]:
    """Return a page as Google writes it: an empty list and an empty token are left out."""
    return ({key: list(items)} if items else {}) | ({"nextPageToken": token} if token else {})


def _refuse_unknown(source: Source, query: Mapping[str, str]) -> None:
    for name, known in (("orderBy", source.orders), ("order_by", source.orders), ("filter", source.fields)):
        if name in query and not known:
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
                f"Field '{name}' could not be found in request message."
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
    """Return what a token belongs to: the same list, filtered and ordered in the same way."""
    about = json.dumps([source.statement, source.values, query.get("filter", ""), key, descending])
    return hashlib.sha256(about.encode()).hexdigest()[:12]


def _seal(about: str, key: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([about, *key]).encode()).decode()


def _open(token: str, about: str, length: int) -> list[Any]:
    found, *key = lists.open_token(token) or [""]
    if found != about or len(key) != length:
        raise invalid("Invalid page token: it belongs to another list, filter or order.")
    return key
