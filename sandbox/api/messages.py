"""Convert between JSON and Google's published message types, which are the schema of requests and responses.

A field or an enum value that Google does not have is refused in the words of Google's front end.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from sandbox.errors import invalid, unknown_field

M = TypeVar("M", bound=Message)


def _enum(value: Any, kind: EnumDescriptor, path: str) -> Any:
    if isinstance(value, str):
        wanted = value.upper()
        for candidate in kind.values:
            if candidate.name == wanted:
                return candidate.name
        if re.fullmatch("-?[0-9]{1,10}", value):
            return int(value)
        raise invalid(f"Invalid value at '{path}' (type.googleapis.com/{kind.full_name}), \"{value}\"")
    return value


def _normal(value: Any, field: FieldDescriptor, path: str) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if not isinstance(value, dict):
            raise invalid(f"Invalid value at '{path}' (map), expected an object")
        item = field.message_type.fields_by_name["value"]
        # Google's front end names a map's entries by index, and calls each `value`.
        return {key: _normal(entry, item, f"{path}[{place}].value") for place, (key, entry) in enumerate(value.items())}
    if field.is_repeated:
        if not isinstance(value, list):
            raise invalid(f"Invalid value at '{path}' (list), expected an array")
        return [_single(entry, field, f"{path}[{place}]") for place, entry in enumerate(value)]
    return _single(value, field, path)


def _single(value: Any, field: FieldDescriptor, path: str) -> Any:
    if field.enum_type is not None:
        return _enum(value, field.enum_type, path)
    kind = field.message_type
    if kind is not None and not kind.full_name.startswith("google.protobuf.") and isinstance(value, dict):
        return _fields(value, kind, path)
    return value


def _fields(body: dict[str, Any], kind: Descriptor, path: str) -> dict[str, Any]:
    names = {field.json_name: field for field in kind.fields} | {field.name: field for field in kind.fields}
    result: dict[str, Any] = {}
    for name, value in body.items():
        field = names.get(name)
        if field is None:
            raise unknown_field(name, where=path)
        if value is not None:
            result[field.json_name] = _normal(value, field, f"{path}.{field.name}" if path else field.name)
    return result


def parse(kind: type[M], body: dict[str, Any], path: str = "") -> M:
    """Return the message in a request body.

    Accepts enums in any case and as numbers, durations in every spelling that gcloud sends, and field names in both
    spellings.

    Args:
        path: the body's name in error messages, for example `repository`.

    Raises:
        ApiError: INVALID_ARGUMENT for an unknown field or a value of another type.
    """
    message = kind()
    try:
        json_format.ParseDict(_fields(body, cast(Descriptor, kind.DESCRIPTOR), path), message)
    except json_format.ParseError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None
    return message


def render(message: Message) -> dict[str, Any]:
    """Return a message as Google's JSON: lowerCamelCase, enums by name, 64-bit integers as strings, no defaults."""
    rendered: dict[str, Any] = json_format.MessageToDict(message)
    return rendered
