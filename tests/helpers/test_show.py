"""Tables and sizes."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from helpers import show
from helpers.cell import rich


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


def test_a_table_is_html_where_a_browser_reads_and_nothing_in_it_is_markup() -> None:
    table = show.table([("<b>", "61.3 MB")], ("image", "size"))
    shown = table._repr_mimebundle_()
    assert shown["text/plain"] == str(table)
    root = ElementTree.fromstring(shown["text/html"])  # noqa: S314 - our own
    assert [one.text for one in root.iter("th")] == ["image", "size"]
    assert all(one.get("scope") == "col" for one in root.iter("th"))
    assert [(one.text, one.get("style")) for one in root.iter("td")] == [
        ("<b>", "text-align: left; white-space: nowrap"),
        ("61.3 MB", "text-align: right; white-space: nowrap"),
    ]
    long = show.table([("1.0.0, sha-0000001, sha-1c0ffee",)], ("tags",))
    assert "nowrap" not in long.html


def test_lines_around_a_table_stay_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    table = show.table([("x",)], ("a",))
    show.display("before <", table, "after")
    assert capsys.readouterr().out == f"before <\n{table}\nafter\n"
    shown = rich.lines("before <", table, "", "after").html
    assert shown.index("before &lt;") < shown.index("<table>") < shown.index("after")
