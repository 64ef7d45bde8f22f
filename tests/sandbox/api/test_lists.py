"""Split lists into pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.api import lists
from sandbox.errors import ApiError

NAMES = st.lists(st.text("abc", min_size=1, max_size=4), unique=True, max_size=40)


def _walk(items: list[str], size: int) -> list[str]:
    seen: list[str] = []
    token = ""
    while True:
        page, token = lists.page(items, {"pageSize": str(size), "pageToken": token}, str)
        seen += page
        if not token:
            return seen


@given(NAMES, st.integers(1, 7))
def test_pages_contain_every_item_once(names: list[str], size: int) -> None:
    assert _walk(names, size) == names


@given(NAMES, NAMES, st.integers(1, 7))
def test_pages_are_stable_during_inserts(names: list[str], more: list[str], size: int) -> None:
    """Items that exist before and after the insert are returned exactly once."""
    before = sorted(names)
    page, token = lists.page(before, {"pageSize": str(size)}, str)
    after = sorted({*names, *more})
    rest: list[str] = []
    while token:
        chosen, token = lists.page(after, {"pageSize": str(size), "pageToken": token}, str)
        rest += chosen
    assert not set(page) & set(rest)
    assert set(before) <= set(page) | set(rest)


@pytest.mark.parametrize(("size", "expected"), [("", 100), ("0", 100), ("7", 7), ("1000", 1000), ("5000", 1000)])
def test_page_size_is_limited(size: str, expected: int) -> None:
    page, _ = lists.page([str(n) for n in range(3000)], {"pageSize": size} if size else {}, str)
    assert len(page) == expected


@pytest.mark.parametrize(
    "query", [{"pageSize": "-1"}, {"pageSize": "x"}, {"pageToken": "x"}, {"pageToken": "bnVsbA=="}]
)
def test_invalid_page_parameters_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as refused:
        lists.page(["a"], query, str)
    assert refused.value.http_status == 400
