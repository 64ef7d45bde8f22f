"""README's table of notebooks is the notebooks, and what README and docs link to is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
_ROW = re.compile(r"^\| \[(.+?)\]\((notebooks/\S+?)\) \| (.+?) \| (\d+) \|$", re.MULTILINE)


def expected() -> list[tuple[str, str, str]]:
    """(title, path, minutes) of every notebook, from its first cell."""
    found = []
    for path in NOTEBOOKS:
        card = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        title, minutes = re.search(r"^# (.+)", card), re.search(r"\*\*Time\*\*: (\d+) minutes", card)
        assert title, path.name
        assert minutes, path.name
        found.append((title[1], f"notebooks/{path.name}", minutes[1]))
    return found


def table(text: str) -> list[tuple[str, str, str]]:
    return [(title, path, minutes) for title, path, _, minutes in _ROW.findall(text)]


def dead(page: Path, text: str) -> list[str]:
    """The links of a page that lead to no file, and to no heading or cell in it."""
    wrong = []
    for aim in re.findall(
        r"\]\((?!https?:|mailto:)([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    ):
        name, _, place = aim.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (place and place not in places(file)):
            wrong.append(aim)
    return wrong


def places(file: Path) -> set[str]:
    """What a link into a page or a notebook can name: anchors of headings (lower case, hyphens), or ids of cells."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        return {cell["id"] for cell in json.loads(text)["cells"]}
    lines = re.findall(r"^#+ (.+)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_table_is_the_notebooks() -> None:
    assert table(PAGES[0].read_text(encoding="utf-8")) == expected()


def test_a_row_that_is_gone_or_wrong_is_seen() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    title, path, minutes = expected()[0]
    assert table(text.replace(f"[{title}]", "[0 · Begin]")) != expected()
    assert table(text.replace(path, "notebooks/00_begin.ipynb")) != expected()
    assert table(re.sub(rf"^\| \[{re.escape(title)}.*\n", "", text, flags=re.MULTILINE)) == expected()[1:]
    assert table(text.replace(f"| {minutes} |", "| 99 |")) != expected()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not dead(page, page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_every_link_of_a_notebook_leads_somewhere(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert not dead(notebook, "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"))


def test_a_dead_link_is_seen() -> None:
    gone = ["docs/none.md", "#no-such-heading", "notebooks/00_start_here.ipynb#no-such-cell", "docs/errata.md#none"]
    fine = ["docs/errata.md", "#where-things-are", "notebooks/00_start_here.ipynb#compare", "https://example.com/x"]
    text = " ".join(f"[x]({aim})" for aim in [*gone, *fine])
    assert dead(PAGES[0], text) == gone
