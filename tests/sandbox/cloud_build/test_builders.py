"""What docker is told of a step's container."""

from __future__ import annotations

import csv

from hypothesis import given
from hypothesis import strategies as st

from sandbox.cloud_build import builders


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1))
def test_a_path_of_any_letters_is_shown_in_a_container(path: str) -> None:
    """With a colon too, which ends the path in docker's `--volume`."""
    option, line = builders.bind(f"/{path}", "/there")
    assert option == "--mount"
    [fields] = csv.reader([line])
    assert fields == ["type=bind", f"source=/{path}", "target=/there", "readonly"]
