"""Lists as Google's APIs give them: filter, order, pages. Pure.

Sources: https://google.aip.dev/132 (orderBy), https://google.aip.dev/158 (pages), https://google.aip.dev/160 (filter),
and for the fields of Artifact Registry facts/artifact-registry.md 1.1.
"""

from __future__ import annotations

import base64
import fnmatch
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sandbox.api import strict_json
from sandbox.errors import invalid

T = TypeVar("T")

MAX_PAGE = 1000
DEFAULT_PAGE = 100

_TERM = re.compile(r'\s*(?P<field>[\w.]+)\s*(?P<op>!=|=|:)\s*(?P<value>"(?:[^"\\]|\\.)*"|[^\s()"]+)\s*')
_JOIN = re.compile(r"(AND|OR)\b\s*")


def matcher(text: str, fields: Mapping[str, Callable[[T], Any]]) -> Callable[[T], bool]:
    """Return a predicate for a filter: `name="…*" AND version="…"`, case-insensitive, `*` at either side.

    Args:
        text: the filter; empty matches everything.
        fields: what may be asked, and how an item answers: a string, a tuple of which one must match, or a mapping for
            `annotations.key`.

    Raises:
        ApiError: INVALID_ARGUMENT for a field that may not be asked or a form that is not understood.
    """
    groups: list[list[Callable[[T], bool]]] = [[]]
    rest = text.strip()
    while rest:
        match = _TERM.match(rest)
        if match is None:
            raise invalid(f"Invalid filter {text!r}: cannot read {rest[:60]!r}.")
        groups[-1].append(_term(match, fields, text))
        rest = rest[match.end() :]
        if not rest:
            break
        join = _JOIN.match(rest)
        # A blank between two terms is AND (AIP-160).
        if join:
            rest = rest[join.end() :]
            if join[1] == "OR":
                groups.append([])
            if not rest:
                raise invalid(f"Invalid filter {text!r}: it ends with {join[1]}.")
    return lambda item: any(all(term(item) for term in group) for group in groups)


def _term(match: re.Match[str], fields: Mapping[str, Callable[[T], Any]], text: str) -> Callable[[T], bool]:
    name, _, key = match["field"].partition(".")
    value = match["value"]
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    read = fields.get(name)
    if read is None:
        raise invalid(f"Invalid filter {text!r}: {name!r} is not one of {', '.join(sorted(fields))}.")
    # Only the star is special; fnmatch would also read brackets and question marks.
    pattern = re.compile(fnmatch.translate(re.sub(r"([\[?])", r"[\1]", value)), re.IGNORECASE)

    def holds(item: T) -> bool:
        answer = read(item)
        if isinstance(answer, Mapping):
            answer = answer.get(key, "") if key else " ".join(answer)
        several = answer if isinstance(answer, tuple) else (answer,)
        return any(pattern.fullmatch(str(one)) for one in several) is (match["op"] != "!=")

    return holds


def order(items: Sequence[T], text: str, fields: Mapping[str, Callable[[T], Any]], name: Callable[[T], str]) -> list[T]:
    """Items in the order asked for, by name where nothing else decides.

    Args:
        text: `CREATE_TIME desc` as gcloud writes it, `create_time`, `createTime desc`, several joined by commas.

    Raises:
        ApiError: INVALID_ARGUMENT for a field that cannot be ordered by.
    """
    result = sorted(items, key=name)
    plain = {re.sub("_", "", field).lower(): read for field, read in fields.items()} | {"name": name}
    for part in reversed([part.split() for part in text.split(",") if part.strip()]):
        read = plain.get(part[0].replace("_", "").lower())
        if read is None or len(part) > 2 or part[1:] not in ([], ["asc"], ["desc"], ["ASC"], ["DESC"]):
            raise invalid(f"Invalid order_by field: {text}")
        result.sort(key=read, reverse=part[1:] in (["desc"], ["DESC"]))
    return result


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
