"""`sandbox.doors.request_body` reads a body whole, and none that is too long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from sandbox.doors import request_body


def _request(chunks: Sequence[bytes], declared: str = "") -> tuple[Request, list[bytes]]:
    """Return a request, and the chunks that nobody has read yet."""
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        chunk = left.pop(0) if left else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    headers = [(b"content-length", declared.encode())] if declared else []
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive), left


@given(st.lists(st.binary(min_size=1, max_size=8), max_size=8), st.integers(0, 40))
def test_a_body_is_whole_or_refused(chunks: list[bytes], limit: int) -> None:
    request, _ = _request(chunks)
    whole = b"".join(chunks)
    if len(whole) > limit:
        with pytest.raises(request_body.BodyTooLarge):
            asyncio.run(request_body.read(request, limit))
    else:
        assert asyncio.run(request_body.read(request, limit)) == whole


def test_a_body_declared_too_long_is_not_read() -> None:
    request, left = _request([b"12345"], declared="5")
    with pytest.raises(request_body.BodyTooLarge):
        asyncio.run(request_body.read(request, 4))
    assert left == [b"12345"]


def test_an_endless_body_is_left_at_the_first_byte_too_many() -> None:
    request, left = _request([b"1234"] * 1000)
    with pytest.raises(request_body.BodyTooLarge):
        asyncio.run(request_body.read(request, 9))
    assert len(left) == 997


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=5))
def test_a_form_has_the_fields_that_were_sent(fields: dict[str, str]) -> None:
    assert request_body.form(urlencode(fields).encode()) == fields


def test_the_first_of_two_values_counts_and_wrong_bytes_harm_nothing() -> None:
    assert request_body.form(b"a=1&a=2&b=\xff&c") == {"a": "1", "b": "�"}
