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
    "text",
    [
        '{"payload"  :{"data": "U0VDUkVU"}}',
        '{"payload"\n:\t{"data": "U0VDUkVU"}}',
        '{"privateKeyData"  :\n"U0VDUkVU"}',
        f"/v2/token/registry-{'U0VDUkVU' * 9}==.{'U0VDUkVU' * 5}",
    ],
    ids=["spaces", "lines", "key", "registry token"],
)
def test_a_secret_is_taken_out_however_it_is_spaced(text: str) -> None:
    assert "U0VDUkVU" not in redact(text)


def test_the_name_of_a_registry_is_no_token() -> None:
    assert redact("registry-1.docker.io/library/python:3.11") == "registry-1.docker.io/library/python:3.11"


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
        '"payload" ',
        '"payload"\n: ',
        "registry-",
        "registry-a.",
    ],
)
def test_no_repetition_is_looked_at_twice(piece: str) -> None:
    """A quadratic pattern takes minutes for this, and the test its time limit."""
    for _ in range(3):
        assert isinstance(redact(piece * (4_000_000 // len(piece))), str)
