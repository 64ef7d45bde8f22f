"""What a request may hold. Every field that is wrong gets its own reason, all in one answer."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from predictor.model import Feature


class InputError(ValueError):
    """The input can't be used. ``reasons`` maps a field's name to a sentence; it is empty if the whole is no object."""

    def __init__(self, message: str, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reasons = dict(reasons or {})


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises `InputError` for what isn't UTF-8, isn't JSON (NaN and Infinity aren't), isn't an object, or names a field
    twice.
    """
    if not body.strip():
        raise InputError("The body is empty. Send a JSON object.")
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError("The body isn't UTF-8 text.") from error
    except json.JSONDecodeError as error:
        raise InputError(f"The body isn't JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError("This server doesn't read such JSON: a number is too long or it nests too deep.") from error
    if not isinstance(content, dict):
        raise InputError('The body is JSON, but not an object. Send {"field": number, …}.')
    return content


def check(values: Mapping[str, Any], features: Sequence[Feature]) -> dict[str, float]:
    """Return one float per feature, in the features' order. Raises `InputError` with a reason for each wrong field."""
    names = [feature.name for feature in features]
    reasons = {
        feature.name: _reason(values.get(feature.name), feature.name in values, feature.limit) for feature in features
    }
    wrong = {name: reason for name, reason in reasons.items() if reason}
    wrong.update({_short(name): "unknown field" for name in values if name not in names})
    if wrong:
        raise InputError("The input can't be used: see fields.", wrong)
    return {name: float(values[name]) for name in names}


def from_form(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return a form's fields with numbers for the texts that are numbers; `check` then judges both."""
    return {name: _number(text) for name, text in texts.items() if text.strip()}


def _reason(value: Any, given: bool, limit: float) -> str:
    if not given:
        return "missing"
    # In Python True is an int. In a request it is a mistake.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if not 0 < value <= limit:
        return f"must be greater than 0 and at most {limit:g}"
    return ""


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:59] + "…"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = {_short(name): "given more than once" for name in content if names.count(name) > 1}
        raise InputError("The input can't be used: see fields.", twice)
    return content


def _no_constant(name: str) -> float:
    raise InputError(f"{name} isn't JSON. Send finite numbers.")
