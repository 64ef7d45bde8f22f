"""Update masks, which say which fields of a message a PATCH changes.

Source: https://google.aip.dev/134 and https://google.aip.dev/161.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor

from sandbox.api.methods import Call
from sandbox.errors import invalid


def of(call: Call) -> str:
    """Return the call's mask. Clients spell the parameter in both ways."""
    return call.query.get("updateMask") or call.query.get("update_mask") or ""


def camel(name: str) -> str:
    """Return a field's or a parameter's name in lowerCamelCase."""
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def paths(mask: str) -> list[str]:
    """Return the paths of a mask in lowerCamelCase."""
    return [camel(path.strip()) for path in mask.split(",") if path.strip()]


def apply(
    kind: Descriptor, current: Mapping[str, Any], body: Mapping[str, Any], mask: str, *, may: Collection[str]
) -> dict[str, Any]:
    """Return the message after a patch.

    Args:
        kind: the message's descriptor.
        current: the present values of the fields that may change, with names in lowerCamelCase.
        body: the request's fields, likewise.
        mask: comma-separated paths in either spelling; empty or `*` means every field that may change.
        may: the fields that may change.

    Raises:
        ApiError: INVALID_ARGUMENT for a path that does not exist or that cannot change.
    """
    if mask in ("", "*"):
        return {key: value for key, value in body.items() if key in may}
    changed = dict(current)
    for path in mask.split(","):
        keys = _path(kind, path.strip())
        if keys[0] not in may:
            raise invalid(f"The field {keys[0]} cannot change after the {kind.name.lower()} is created.")
        _copy(changed, body, keys)
    return changed


def _path(kind: Descriptor, path: str) -> list[str]:
    keys: list[str] = []
    here: Descriptor | None = kind
    for part in path.split("."):
        field = next((f for f in here.fields if part in (f.name, f.json_name)), None) if here else None
        if field is None:
            raise invalid(f"Invalid update mask: {path[:200]!r} is not a field of a {kind.name.lower()}.")
        keys.append(field.json_name)
        here = field.message_type
    return keys


def _copy(target: dict[str, Any], source: Mapping[str, Any], keys: list[str]) -> None:
    for key in keys[:-1]:
        target[key] = dict(target.get(key, {}))
        target, source = target[key], source.get(key, {})
    if keys[-1] in source:
        target[keys[-1]] = source[keys[-1]]
    else:
        target.pop(keys[-1], None)
