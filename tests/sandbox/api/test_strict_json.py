"""Refuse JSON that a response could not contain."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.api import strict_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(VALUES, st.booleans())
def test_valid_json_is_parsed(value: object, ascii_only: bool) -> None:
    assert strict_json.loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        r'{"a": "\ud800"}',
        r'{"\udc00": 1}',
        r'["x\ud83d y"]',
        "NaN",
        "[Infinity]",
        "-Infinity",
        "[" * 100_000,
        "{",
        "1" * 5000,
    ],
    ids=["high", "key", "split", "nan", "infinity", "minus", "deep", "cut", "digits"],
)
def test_unsendable_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"surrogate|no number|nests|Expecting|digits"):
        strict_json.loads(text.encode())


def test_complete_surrogate_pair_is_a_character() -> None:
    assert strict_json.loads(rb'"\ud83d\ude00"') == "\N{GRINNING FACE}"


def test_invalid_utf8_is_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        strict_json.loads(b'"\xff"')
