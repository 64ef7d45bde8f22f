"""Filter lists, and refuse invalid filters. In AIP-160, OR has precedence over AND."""

from __future__ import annotations

import pytest

from sandbox.api import filters
from sandbox.errors import ApiError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["my-a", "my-b", "other"]),
        ('name="my-*"', ["my-a", "my-b"]),
        ('name="MY-A"', ["my-a"]),
        ('name="*b"', ["my-b"]),
        ('name="my-*" AND name="*-b"', ["my-b"]),
        ('name="my-a" OR name="other"', ["my-a", "other"]),
        ('name!="other"', ["my-a", "my-b"]),
        ('NOT name="other"', ["my-a", "my-b"]),
        ("-name=other", ["my-a", "my-b"]),
        ('(name="my-a") OR (name="other")', ["my-a", "other"]),
        ('name="other" OR name="my-a" AND name="my-*"', ["my-a"]),
        ('name="my-*" name="*b" OR name="other"', ["my-b"]),
        ("name:other", ["other"]),
        ('name="[mo]*"', []),
    ],
)
def test_filter_matches_the_expected_items(text: str, expected: list[str]) -> None:
    match = filters.matcher(text, {"name": lambda item: item})
    assert [item for item in ("my-a", "my-b", "other") if match(item)] == expected


@pytest.mark.parametrize(
    "text",
    [
        *("nosuch=1", "name", 'name="a" AND', "name=(a)", '="a"', "name<a", "name=~a"),
        *("(name=a", "name=a)", "OR name=a", f"{'(' * 60}name=a{')' * 60}"),
    ],
)
def test_invalid_filter_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        filters.matcher(text, {"name": lambda item: item})
    assert refused.value.status == "INVALID_ARGUMENT"
