"""The map of the two source guides: every line is covered or left out for a reason, and every reference exists.

The guides are not part of this repository. Where they are beside it, the map is compared with them line by line.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = ROOT.parent / "shared" / "source"
MAP: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "tests/docs/source_coverage.toml").read_text(encoding="utf-8"))


def references() -> dict[str, list[str]]:
    """Return the lines that name each reference."""
    found: dict[str, list[str]] = {}
    for guide, content in MAP.items():
        for number, (_, *named) in content["lines"].items():
            for reference in named or [""]:
                found.setdefault(reference, []).append(f"{guide} {number}")
    return found


def problem(reference: str) -> str:
    """Return what is wrong with a reference, or an empty string."""
    kind, _, rest = reference.partition(": ")
    if kind == "out of scope":
        return "" if len(rest.split()) > 3 else "say why it is out of scope"
    if erratum := re.fullmatch(r"erratum (\d+)", reference):
        page = (ROOT / "docs/errata.md").read_text(encoding="utf-8")
        return "" if re.search(rf"^\| {erratum[1]} \|", page, re.MULTILINE) else "there is no such erratum"
    path, sign, name = reference.partition("::")
    if sign:
        if not (ROOT / path).is_file():
            return "there is no such file"
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        tests = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        return "" if name.startswith("test_") and name in tests else "there is no such test"
    stem, sign, rest = reference.partition("#")
    cell, _, word = rest.partition(" ")
    notebook = ROOT / "notebooks" / f"{stem}.ipynb"
    if not sign or not notebook.is_file():
        return "it is no notebook and cell, no test, no erratum, and no reason"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = [" ".join("".join(one["source"]).split()) for one in cells if one["id"] == cell]
    if not sources:
        return "there is no such cell"
    if not re.fullmatch('".{3,}"', word):
        return 'name a word of the cell in quotes: notebook#cell "word"'
    return "" if word.strip('"') in sources[0] else f"the cell doesn't say {word}"


def differences(lines: dict[str, list[str]], text: list[str]) -> Iterator[str]:
    """Yield the differences between a guide's text and its map."""
    for number in sorted({*map(int, lines), *range(1, len(text) + 1)}):
        if str(number) not in lines:
            yield f"line {number} is mapped nowhere"
        elif number > len(text):
            yield f"line {number} isn't in the guide"
        elif not hashlib.sha256(text[number - 1].encode()).hexdigest().startswith(lines[str(number)][0]):
            yield f"line {number} isn't the line that was mapped"


def test_every_reference_exists() -> None:
    wrong = {
        f"{reference!r} ({', '.join(lines)})": why
        for reference, lines in references().items()
        if (why := problem(reference))
    }
    assert not wrong


@pytest.mark.parametrize("guide", MAP)
def test_every_line_of_a_guide_is_mapped(guide: str) -> None:
    file = GUIDES / MAP[guide]["file"]
    if not file.is_file():
        pytest.skip(f"the guide {file.name} isn't beside the repository")
    assert not list(differences(MAP[guide]["lines"], file.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("guide", MAP)
def test_map_has_no_gaps(guide: str) -> None:
    """This needs no guide: numbers are consecutive, and each line has a hash and a reference."""
    lines = MAP[guide]["lines"]
    assert [int(number) for number in lines] == list(range(1, len(lines) + 1))
    assert all(re.fullmatch(r"[0-9a-f]{12}", one[0]) and len(one) > 1 for one in lines.values())


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "02_create_a_repository",
        "02_create_a_repository#no-such-cell",
        "02_no_such_notebook#create",
        '02_create_a_repository#create "no such word"',
        "02_create_a_repository#create",
        '02_create_a_repository#create ""',
        "tests/docs/test_errata.py::test_no_such_test",
        "tests/docs/test_no_such_file.py::test_x",
        "erratum 99",
        "out of scope: because",
    ],
)
def test_reference_to_nothing_is_caught(reference: str) -> None:
    assert problem(reference)


def test_added_removed_or_changed_line_is_caught() -> None:
    lines = {
        str(number): [hashlib.sha256(text.encode()).hexdigest()[:12], "x"] for number, text in ((1, "a"), (2, "b"))
    }
    assert list(differences(lines, ["a", "b"])) == []
    assert list(differences(lines, ["a", "c"])) == ["line 2 isn't the line that was mapped"]
    assert list(differences(lines, ["a", "b", "c"])) == ["line 3 is mapped nowhere"]
    assert list(differences(lines, ["a"])) == ["line 2 isn't in the guide"]
