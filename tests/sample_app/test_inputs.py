"""Which inputs the validator accepts, and its reasons for refusing others."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from predictor.inputs import InputError, check, from_form, parse
from predictor.model import Feature

FEATURES = (Feature("length", "length (cm)", 1.0, 5.0), Feature("width", "width (cm)", 0.5, 2.0))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def answer_of(call: Callable[[], dict[str, Any]]) -> dict[str, Any] | InputError:
    try:
        return call()
    except InputError as error:
        return error


def reasons(values: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        check(values, FEATURES)
    return caught.value.reasons


@given(st.floats(min_value=0, max_value=50, exclude_min=True), st.integers(min_value=1, max_value=20))
def test_numbers_in_range_come_back_as_floats(length: float, width: int) -> None:
    assert check({"width": width, "length": length}, FEATURES) == {"length": length, "width": float(width)}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "must be a number"),
        (True, "must be a number"),
        ("1.5", "must be a number"),
        ([1.5], "must be a number"),
        ({}, "must be a number"),
        (math.nan, "must be a finite number"),
        (math.inf, "must be a finite number"),
        (-math.inf, "must be a finite number"),
        (0, "must be greater than 0 and at most 50"),
        (-0.1, "must be greater than 0 and at most 50"),
        (50.1, "must be greater than 0 and at most 50"),
        (10**400, "must be greater than 0 and at most 50"),
    ],
)
def test_wrong_value_has_its_reason(value: Any, reason: str) -> None:
    assert reasons({"length": value, "width": 1}) == {"length": reason}


def test_all_wrong_fields_are_named_together() -> None:
    assert reasons({"length": "long", "colour": 3}) == {
        "length": "must be a number",
        "width": "missing",
        "colour": "unknown field",
    }


def test_long_field_name_is_shortened_in_the_answer() -> None:
    (name,) = reasons({"length": 1, "width": 1, "x" * 500: 1})
    assert len(name) == 60


@given(st.dictionaries(st.sampled_from(["length", "width"]) | st.text(), JSON_VALUES))
def test_check_returns_usable_numbers_or_reasons_and_nothing_else(values: dict[str, Any]) -> None:
    outcome = answer_of(lambda: check(values, FEATURES))
    if isinstance(outcome, InputError):
        assert outcome.reasons
        assert all(outcome.reasons.values())
    else:
        assert set(values) == set(outcome) == {"length", "width"}
        assert all(type(value) is float and 0 < value <= 50 for value in outcome.values())


BODIES = (
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | JSON_VALUES.map(lambda v: json.dumps(v).encode())
)


@given(BODIES)
def test_parse_returns_an_object_or_an_input_error(body: bytes) -> None:
    outcome = answer_of(lambda: parse(body))
    assert isinstance(outcome, dict) or outcome.message


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "The body is empty"),
        (b" \n", "The body is empty"),
        (b"\xff\xfe", "isn't UTF-8"),
        (b"{", "isn't JSON: "),
        (b"[1]", "not an object"),
        (b"3", "not an object"),
        (b'{"length": NaN}', "NaN isn't JSON"),
        (b'{"length": -Infinity}', "-Infinity isn't JSON"),
        (b'{"length": ' + b"9" * 5000 + b"}", "a number is too long"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nests too deep"),
    ],
)
def test_body_that_is_no_json_object_is_refused(body: bytes, part: str) -> None:
    with pytest.raises(InputError, match=part):
        parse(body)


def test_field_given_twice_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        parse(b'{"length": 1, "length": 2, "width": 1}')
    assert caught.value.reasons == {"length": "given more than once"}


def test_number_too_large_for_a_float_is_refused() -> None:
    assert reasons(parse(b'{"length": 1e999, "width": 1}')) == {"length": "must be a finite number"}


def test_form_is_checked_like_json() -> None:
    assert check(from_form({"length": " 1.5", "width": "2"}), FEATURES) == {"length": 1.5, "width": 2.0}
    assert reasons(from_form({"length": "", "width": "wide"})) == {"length": "missing", "width": "must be a number"}
    assert reasons(from_form({"length": "nan", "width": "1"})) == {"length": "must be a finite number"}
