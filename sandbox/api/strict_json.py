"""Parse JSON as strictly as Google's front end: only finite numbers, and text that UTF-8 can encode."""

from __future__ import annotations

import json
import math
from typing import Any

from sandbox.errors import invalid


def loads(content: bytes | str) -> Any:
    """Parse a document.

    Raises:
        ValueError: if it is not JSON, nests too deeply, or has NaN, Infinity or half of a surrogate pair. Text with
            half of a pair could be stored, but never sent.
    """
    text = content.decode() if isinstance(content, bytes) else content
    try:
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("The document nests too deeply.") from None
    if "\\u" in text or not text.isascii():
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("A text holds half of a surrogate pair, which is no character.") from None
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON.")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text[:40])


def loads_object(content: bytes) -> dict[str, Any]:
    """Parse a request's body.

    Raises:
        ApiError: INVALID_ARGUMENT if it is not a JSON object.
    """
    try:
        body = loads(content)
    except ValueError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None
    if not isinstance(body, dict):
        raise invalid("Invalid JSON payload received. Expected an object.")
    return body
