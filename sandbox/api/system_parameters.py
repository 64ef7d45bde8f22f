"""The query parameters that every method of every Google API has: `alt`, `fields`, `prettyPrint`.

Source: https://cloud.google.com/apis/docs/system-parameters. Enums as numbers are as recorded on Google (2026-06-16,
tests/observed/facts).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from starlette.datastructures import QueryParams

from sandbox.errors import ApiError, invalid, unimplemented

Enums = Mapping[str, Mapping[str, int]]
Selection = dict[str, "Selection"]
_PATH = re.compile(r"\s*([^,()/\s]+(?:/[^,()/\s]+)*)\s*")
_DEEPEST = 20
_BOOLEANS = {"true": True, "1": True, "": True, "false": False, "0": False}


@dataclass(frozen=True)
class Wanted:
    """The form of a response.

    Attributes:
        pretty: with line breaks, which is the default.
        selection: the fields to send; None for all.
        numbers: whether enums are sent as numbers.
    """

    pretty: bool = True
    selection: Selection | None = None
    numbers: bool = False

    def write(self, answer: Mapping[str, Any], kind: Descriptor | None, enums: Enums) -> bytes:
        """Return the response as JSON.

        Args:
            kind: the response's message type, if a package has it.
            enums: otherwise, the numbers of enum values by field name.
        """
        found: Any = dict(answer)
        if self.numbers:
            found = _numbered(found, kind) if kind is not None else _renumbered(found, enums)
        if self.selection is not None:
            found = _selected(found, self.selection)
        return as_json(found, pretty=self.pretty)


def read(query: QueryParams) -> Wanted:
    """Return the form of the response that a request wants.

    Raises:
        ApiError: INVALID_ARGUMENT for an invalid value, UNIMPLEMENTED for a form other than JSON.
    """
    alt, _, encoding = _value(query, "alt").partition(";")
    if alt == "proto" or query.get("callback"):
        raise unimplemented("answers in another form than JSON")
    if alt not in ("", "json", "media") or encoding not in ("", "enum-encoding=int"):
        raise invalid(
            f'Invalid value "{_value(query, "alt")[:100]}" for the parameter alt.'
        )  # unverified: the sentence
    text = _value(query, "fields")
    return Wanted(is_pretty(query), _parse(text) if text else None, bool(encoding))


def is_pretty(query: QueryParams) -> bool:
    """Return whether a response, or a refusal, is written with line breaks."""
    return _BOOLEANS.get(_value(query, "prettyPrint").lower(), True)


def as_json(answer: Any, *, pretty: bool) -> bytes:
    """Return JSON in Google's format: indented by two spaces, or without white space."""
    compact = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
    return msgspec.json.format(compact, indent=2) + b"\n" if pretty else compact


def _value(query: QueryParams, name: str) -> str:
    return query.get(f"${name}") or query.get(name) or ""


def _parse(text: str) -> Selection:
    """Parse a selection such as `a/b,items(name,id)`; a name may be `*`."""
    chosen, rest = _list(text, text, 0)
    if rest:
        raise _unreadable(text)
    return chosen


def _list(whole: str, text: str, depth: int) -> tuple[Selection, str]:
    """Parse fields up to a closing parenthesis or the end; return them and the rest of the text."""
    chosen: Selection = {}
    while True:
        match = _PATH.match(text)
        if match is None or depth > _DEEPEST:
            raise _unreadable(whole)
        holder = chosen
        for name in match[1].split("/"):
            holder = holder.setdefault(name, {})
        text = text[match.end() :]
        if text.startswith("("):
            inner, text = _list(whole, text[1:], depth + 1)
            if not text.startswith(")"):
                raise _unreadable(whole)
            holder.update(inner)
            text = text[1:]
        if not text.startswith(","):
            return chosen, text
        text = text[1:]


def _unreadable(text: str) -> ApiError:
    return invalid(f"Invalid field selection {text[:100]}")  # unverified: the sentence


def _selected(value: Any, selection: Selection) -> Any:
    """Return the selected part of a value; an empty selection selects all of it."""
    if not selection:
        return value
    if isinstance(value, list):
        return [_selected(one, selection) for one in value]
    if not isinstance(value, dict):
        return value
    chosen = {}
    for name, found in value.items():
        inner = selection.get(name, selection.get("*"))
        if inner is not None:
            chosen[name] = _selected(found, inner)
    return chosen


def _numbered(value: Mapping[str, Any], kind: Descriptor) -> dict[str, Any]:
    fields = {field.json_name: field for field in kind.fields}
    return {name: _number(found, fields[name]) if name in fields else found for name, found in value.items()}


def _number(value: Any, field: FieldDescriptor) -> Any:
    if isinstance(value, list):
        return [_number(one, field) for one in value]
    if field.enum_type is not None and isinstance(value, str):
        known = field.enum_type.values_by_name.get(value)
        return known.number if known else value
    kind = field.message_type
    if kind is None or not isinstance(value, dict) or kind.full_name == "google.protobuf.Any":
        return value
    if kind.GetOptions().map_entry:
        return {key: _number(one, kind.fields_by_name["value"]) for key, one in value.items()}
    return _numbered(value, kind)


def _renumbered(value: Any, enums: Enums) -> Any:
    if isinstance(value, list):
        return [_renumbered(one, enums) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: enums[name].get(found, found) if name in enums and isinstance(found, str) else _renumbered(found, enums)
        for name, found in value.items()
    }
