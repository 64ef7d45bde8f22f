"""Preconditions of requests: https://cloud.google.com/storage/docs/request-preconditions."""

from __future__ import annotations

import re

from sandbox.api.methods import Call
from sandbox.cloud_storage.objects import Stored
from sandbox.errors import ApiError, invalid

_METAGENERATION = 1  # nothing here changes an object's metadata


def require(call: Call, now: Stored | None) -> None:
    """Check the preconditions of a request against the current object, or None if there is none.

    Raises:
        ApiError: 412, or 304 if a negative condition of a read fails; INVALID_ARGUMENT if a value is not a number.
    """
    generation = now.generation if now else 0
    metageneration = _METAGENERATION if now else 0
    for name, value in (("Generation", generation), ("Metageneration", metageneration)):
        wanted, unwanted = _number(call, f"if{name}Match"), _number(call, f"if{name}NotMatch")
        if wanted is not None and wanted != value:
            raise _failed(412)
        if unwanted is not None and unwanted == value:
            raise _failed(304 if call.method.verb == "GET" else 412)


def _number(call: Call, name: str) -> int | None:
    text = call.query.get(name)
    if not text:
        return None
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise invalid(f"Invalid value for {name}: {text[:80]}")  # unverified: the sentence
    return int(text)


def _failed(status: int) -> ApiError:
    return ApiError(
        "FAILED_PRECONDITION", "At least one of the pre-conditions you specified did not hold.", http_status=status
    )
