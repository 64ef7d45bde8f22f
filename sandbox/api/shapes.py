"""Check request bodies of APIs for which no package has Google's message types.

A service declares the fields that it reads as `Shape`s; other fields are kept unchanged.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import msgspec.structs

from sandbox.errors import invalid, unimplemented


class Shape(msgspec.Struct, rename="camel"):
    """A JSON object whose fields are all optional: the service itself reports a missing field in Google's words."""


def check(kind: type[Shape], body: dict[str, Any], where: str = "", *, strict: bool = False) -> dict[str, Any]:
    """Return the body without its null fields, which in Google's JSON are the same as missing ones.

    Args:
        where: the body's name in error messages, for example `trigger`.
        strict: whether to refuse fields that the shape does not have, at any depth.

    Raises:
        ApiError: INVALID_ARGUMENT with the name of a field of the wrong type.
    """
    found: dict[str, Any] = _without_nulls(body, 0)
    if strict:
        _refuse_further(kind, found, where)
    try:
        msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        field = f"{where}{path.rstrip('`')}".lstrip(".")
        # unverified: the sentence
        raise invalid(f"Invalid JSON payload received. {reason}" + (f" at '{field}'." if field else ".")) from None
    return found


def _refuse_further(kind: Any, value: Any, where: str) -> None:
    """Raise for a field that is missing in a shape or in a shape nested in it."""
    if isinstance(value, list):
        for one in value:
            _refuse_further(kind, one, where)
        return
    kind = next((one for one in _parts(kind) if isinstance(one, type) and issubclass(one, Shape)), None)
    if kind is None or not isinstance(value, dict):
        return
    known = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name, inner in value.items():
        if name not in known:
            raise unimplemented(f"the field {name[:100]}" + (f" of {where}" if where else ""))
        _refuse_further(known[name], inner, f"{where}.{name}".lstrip("."))


def _parts(kind: Any) -> list[Any]:
    inner = get_args(kind)
    return [one for each in inner for one in _parts(each)] if inner else [kind]


_DEEPEST = 100  # as in google/protobuf/json_format


def _without_nulls(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise invalid("Invalid JSON payload received. The document nests too deeply.")
    if isinstance(value, dict):
        return {key: _without_nulls(one, depth + 1) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one, depth + 1) for one in value]
    return value
