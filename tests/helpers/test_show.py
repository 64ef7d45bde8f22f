"""Tables and sizes."""

from __future__ import annotations

import pytest

from helpers import show


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (61_300_000, "61.3 MB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert show.size(count) == text


def test_table_puts_amounts_to_the_right_and_leaves_no_space_at_the_end() -> None:
    text = show.table([("ml-predictor", "61.3 MB", "v1"), ("x", "812 B", "")], ("image", "size", "tags"))
    assert text == "image            size  tags\nml-predictor  61.3 MB  v1\nx               812 B"
    assert show.table([], ("a", "b")) == "a  b"


def test_table_refuses_a_row_of_another_length() -> None:
    with pytest.raises(ValueError, match="1 cells"):
        show.table([("x",)], ("a", "b"))


def test_source(capsys: pytest.CaptureFixture[str]) -> None:
    show.source(show.size)
    assert capsys.readouterr().out.startswith("def size(count: int) -> str:")
