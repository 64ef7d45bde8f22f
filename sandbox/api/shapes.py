"""What a body looks like in the APIs for which Google publishes no message type that the sandbox could read.

A service describes the fields that it reads as `Shape`s; what else a body has is kept as it came.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import msgspec.structs

from sandbox.errors import invalid, unimplemented


class Shape(msgspec.Struct, rename="camel"):
    """An object of JSON; every field may be left out: what is missing is the service's to say, in Google's words."""


def check(kind: type[Shape], body: dict[str, Any], where: str = "", *, strict: bool = False) -> dict[str, Any]:
    """Return the body, without the fields that are null: in Google's JSON such a field is one that is not given.

    Args:
        where: how the body is called in messages, for example `trigger`.
        strict: whether a field that the shape has not is refused, at any depth.

    Raises:
        ApiError: INVALID_ARGUMENT with the name of the field whose type is wrong.
    """
    found: dict[str, Any] = _without_nulls(body, 0)
    if strict:
        _refuse_further(kind, found, where)
    try:
        msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$")
        field = f"{where}{path.rstrip('`')}".lstrip(".")
        # unverified: the sentence
        raise invalid(f"Invalid JSON payload received. {said}" + (f" at '{field}'." if field else ".")) from None
    return found


def _refuse_further(kind: Any, value: Any, where: str) -> None:
    """Refuse what a shape, or one in it, has no field for."""
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


_DEEPEST = 100  # as in Google's own reader of JSON: google/protobuf/json_format


def _without_nulls(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise invalid("Invalid JSON payload received. The document nests too deeply.")
    if isinstance(value, dict):
        return {key: _without_nulls(one, depth + 1) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one, depth + 1) for one in value]
    return value
