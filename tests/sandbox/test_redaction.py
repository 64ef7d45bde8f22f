"""Secrets are taken out of a text of any size and shape, in time that grows with its size alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.redaction import redact

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl"


@given(st.text(alphabet='abc \n"{}:,=/'), st.text(alphabet='abc \n"{}:,=/'))
def test_a_token_is_taken_out_wherever_it_stands(before: str, after: str) -> None:
    assert TOKEN not in redact(f"{before} {TOKEN} {after}")


@pytest.mark.parametrize(
    "piece",
    [
        "eyJ",
        "eyJa.",
        "ya29.",
        "-----BEGIN ",
        "-----BEGIN A",
        '"payload": {',
        '"payload": ',
        '"privateKeyData": "',
        "ey",
        "eyJ-",
    ],
)
def test_no_repetition_is_looked_at_twice(piece: str) -> None:
    """A quadratic pattern takes minutes for this, and the test its time limit."""
    for _ in range(3):
        assert isinstance(redact(piece * (4_000_000 // len(piece))), str)
