"""README's table of notebooks matches the notebooks, and links in README, docs and notebooks have targets."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs import tables

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def dead(page: Path, text: str) -> list[str]:
    """Return the links of a page whose file, heading or cell doesn't exist."""
    wrong = []
    for target in re.findall(
        r"\]\((?!https?:|mailto:)([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    ):
        name, _, fragment = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (fragment and fragment not in fragments(file)):
            wrong.append(target)
    return wrong


def fragments(file: Path) -> set[str]:
    """Return the possible fragments of a link to a page or a notebook: anchors of headings, or ids of cells."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        return {cell["id"] for cell in json.loads(text)["cells"]}
    lines = re.findall(r"^#+ (.+)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_readme_table_and_costs_match_the_notebooks() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    assert tables.readme(text, NOTEBOOKS) == text, "README is out of date: make docs"
    for wrong in (
        text.replace("[0 · Start here]", "[0 · Begin]"),
        re.sub(r"^\| \[0 · .*\n", "", text, flags=re.MULTILINE),
        re.sub(r"\| \d+ \|\n", "| 999 |\n", text, count=1),
        re.sub(r"costs up to \d", "costs up to 9", text),
    ):
        assert wrong != text
        assert tables.readme(wrong, NOTEBOOKS) == text


def test_every_folder_of_the_repository_has_a_row() -> None:
    """Folders that begin with a dot are settings of other programs."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("no checkout of git")
    there = {name.split("/")[0] for name in listed.stdout.splitlines() if "/" in name and not name.startswith(".")}
    rows = re.findall(r"^\| `([a-z_]+)/` \|", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == there


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_has_a_target(page: Path) -> None:
    assert not dead(page, page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_every_link_of_a_notebook_has_a_target(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert not dead(notebook, "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"))


def test_dead_link_is_found() -> None:
    gone = ["docs/none.md", "#no-such-heading", "notebooks/00_start_here.ipynb#no-such-cell", "docs/errata.md#none"]
    fine = ["docs/errata.md", "#where-things-are", "notebooks/00_start_here.ipynb#compare", "https://example.com/x"]
    text = " ".join(f"[x]({target})" for target in [*gone, *fine])
    assert dead(PAGES[0], text) == gone


def derived(notebook: Path) -> float:
    """Return a notebook's minutes by the rule of docs/workshop.md: its words, and its exercises."""
    words = exercises = 0
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        exercises += "exercise" in tags
        if "solution" in tags or "solution-check" in tags:
            continue
        if not cell["metadata"].get("jupyter", {}).get("source_hidden"):
            words += len(source.split())
        for output in cell.get("outputs", []):
            shown = output.get("text") or output.get("data", {}).get("text/plain", "")
            words += len("".join(shown).split())
    return words / 200 + 4 * exercises


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_minutes_of_a_card_follow_the_workshop_rule(notebook: Path) -> None:
    card = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
    minutes = re.search(r"\*\*Time\*\*: (\d+) minutes", card)
    assert minutes, "a card says its minutes"
    # The card's minutes exclude its optional parts.
    optional = sum(int(more) for more in re.findall(r"optional \((\d+) more\)", card))
    # Cells that build for minutes make a card longer than its text.
    assert abs(int(minutes[1]) + optional - derived(notebook)) <= 12
