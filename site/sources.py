"""The site's pages as Sphinx reads them: README, docs and notebooks, copied with what a static page needs.

The originals stay as a forge and JupyterLab show them. The copy differs in four ways: the front page carries the table
of contents, links lead to the site's pages and slides, hidden solutions are marked as such for MyST-NB, and what only a
notebook knows (a cell's id as the aim of a link, a picture's data as text) becomes an anchor and an alternative text.

Nothing here is executed and nothing is installed but Python itself: the tests read the same functions.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]
# Shelf → the pages on it, in reading order. A page of docs/ that no shelf names stands on the last one.
SHELVES: Final[Mapping[str, tuple[str, ...]]] = {
    "The course": ("notebooks/*.ipynb",),
    "Teach it, run it": (
        "docs/container.md",
        "docs/workshop.md",
        "docs/room.md",
        "docs/solutions.md",
        "docs/feedback.md",
        "docs/going_to_google.md",
        "docs/environment.md",
    ),
    "What it rests on": ("docs/errata.md", "docs/fidelity.md"),
    "The house": ("CONTRIBUTING.md", "SECURITY.md", "docs/*.md"),
}
FRONT: Final = "README.md"
_SLIDES: Final = re.compile(r"docs/slides/(\w+)\.md")
_LINK: Final = re.compile(r"\]\((?!\w+:)([^)\s]+)\)")
# Code is no place for links. A fence first: it may hold single backticks.
_CODE: Final = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """One page: where its original is (relative to the repository) and the shelf it stands on; the front has none."""

    path: str
    shelf: str

    @property
    def name(self) -> str:
        """The file in the site's source; the front page is where a browser looks first."""
        return "index.md" if self.path == FRONT else self.path

    @property
    def notebook(self) -> bool:
        """Whether it is a notebook, not a text."""
        return self.path.endswith(".ipynb")


def pages(root: Path) -> tuple[Page, ...]:
    """Every page, the front first, each once and in the order of the shelves."""
    found = {FRONT: Page(FRONT, "")}
    for shelf, patterns in SHELVES.items():
        for path in (str(one.relative_to(root)) for pattern in patterns for one in sorted(root.glob(pattern))):
            found.setdefault(path, Page(path, shelf))
    return tuple(found.values())


def write(root: Path, into: Path) -> tuple[Page, ...]:
    """Write the source of every page below `into`, which is emptied first; gives the pages."""
    shutil.rmtree(into, ignore_errors=True)
    every = pages(root)
    aims = aimed_at(root, every)
    for page in every:
        text = (root / page.path).read_text(encoding="utf-8")
        if page.notebook:
            book = notebook(json.loads(text), page, root, every, aims)
            _put(into / page.name, json.dumps(book, ensure_ascii=False, indent=1))
        else:
            _put(into / page.name, linked(text, page, root, every) + (contents(every) if not page.shelf else ""))
    for path in sorted({path for page in every for path in downloads(root, page, every)}):
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, into / path)
    return every


def contents(every: Iterable[Page]) -> str:
    """Return the tables of contents that the front page carries unseen; the theme shows them beside every page."""
    shelves: dict[str, list[str]] = {}
    for page in every:
        shelves.setdefault(page.shelf, []).append(page.name.rpartition(".")[0])
    return "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {shelf}\n\n" + "\n".join(names) + "\n```\n"
        for shelf, names in shelves.items()
        if shelf
    )


def links(text: str) -> list[str]:
    """Return what a text in Markdown links to inside the repository, code left out."""
    return _LINK.findall(_CODE.sub("", text))


def texts(root: Path, page: Page) -> list[str]:
    """Return the Markdown of a page: one text, or one for each text cell of a notebook."""
    whole = (root / page.path).read_text(encoding="utf-8")
    if not page.notebook:
        return [whole]
    return ["".join(cell["source"]) for cell in json.loads(whole)["cells"] if cell["cell_type"] == "markdown"]


def aimed_at(root: Path, every: Iterable[Page]) -> dict[str, set[str]]:
    """Notebook → the ids of its cells that some page links to."""
    found: dict[str, set[str]] = {}
    for page in every:
        for link in (link for text in texts(root, page) for link in links(text)):
            path, place = _resolve(page, link)
            if path.endswith(".ipynb") and place:
                found.setdefault(path, set()).add(place)
    return found


def downloads(root: Path, page: Page, every: Iterable[Page]) -> set[str]:
    """Return the files that a page links to and that are no pages, as LICENSE: Sphinx hands them out as they are."""
    known = {one.path for one in every}
    paths = {_resolve(page, link)[0] for text in texts(root, page) for link in links(text)}
    return {path for path in paths - known if (root / path).is_file() and not _SLIDES.fullmatch(path)}


def linked(text: str, page: Page, root: Path, every: Iterable[Page]) -> str:
    """Return the text with every link led to a page of the site.

    A link to a folder loses its link and keeps its words.
    """
    known = {one.path: one for one in every}

    def lead(found: re.Match[str]) -> str:
        path, place = _resolve(page, found["aim"])
        if path in known:
            if known[path].notebook and place:
                return f"[{found['words']}](#{anchor(path, place)})"
            here = os.path.relpath(known[path].name, Path(page.name).parent)
            return f"[{found['words']}]({'' if path == page.path else here}{'#' if place else ''}{place})"
        if talk := _SLIDES.fullmatch(path):
            # site/slides.py makes these, beside Sphinx, which knows nothing of them.
            there = os.path.relpath(f"slides/{talk[1]}.html", Path(page.name).parent)
            return f'<a href="{there}">{found["words"]}</a>'
        return found[0] if (root / path).is_file() else found["words"]

    parts = _CODE.split(text)
    # Words may be code themselves, so a link can lie across parts: hide code behind a sign, then bring it back.
    hidden = parts[1::2]
    whole = "\0".join(parts[::2])
    whole = re.sub(r"\[(?P<words>[^\]\n]*)\]\((?!\w+:)(?P<aim>[^)\s]+)\)", lead, whole)
    return "".join(piece + code for piece, code in zip(whole.split("\0"), [*hidden, ""], strict=True))


def notebook(book: Json, page: Page, root: Path, every: Iterable[Page], aims: Mapping[str, set[str]]) -> Json:
    """Return the notebook with a card, links, anchors, folded solutions and pictures that say what they are."""
    cells: list[Json] = []
    heading = ""
    for place, cell in enumerate(book["cells"]):
        source = "".join(cell["source"])
        mark = f"({anchor(page.path, cell['id'])})=\n" if cell["id"] in aims.get(page.path, set()) else ""
        if cell["cell_type"] == "markdown":
            text = linked(source, page, root, every)
            cells.append({**cell, "source": mark + (carded(text) if not place else text)})
            heading = next(iter(re.findall(r"^#+ (.+)", source, re.MULTILINE)[-1:]), heading)
            continue
        if mark:
            cells.append({"cell_type": "markdown", "id": f"{cell['id']}-mark", "metadata": {}, "source": mark})
        cells.append({**cell, "metadata": {**cell["metadata"], **_shown(cell, heading)}})
    return {**book, "cells": cells}


def _shown(cell: Json, heading: str) -> Json:
    """Return the metadata that tells MyST-NB how to show a code cell."""
    tags = list(cell["metadata"].get("tags", []))
    settings: Json = {}
    if cell["metadata"].get("jupyter", {}).get("source_hidden"):
        what = "solution" if "solution" in tags else "check" if tags else "Python"
        settings = {"code_prompt_show": f"Show the {what}", "code_prompt_hide": f"Hide the {what}"}
        tags.append("hide-input")
    if any(kind.startswith("image/") for output in cell["outputs"] for kind in output.get("data", {})):
        # No quotes, no brackets: it goes into an attribute.
        words = re.sub(r"[`*\"\[\]]", "", heading)
        settings["image"] = {"alt": f"Picture for “{words}”. The printed lines before it hold the same data."}
    return {"tags": tags, **({"mystnb": settings} if settings else {})}


def carded(text: str) -> str:
    """Return a notebook's first cell: its title, then goal, time and cost as a card."""
    title, _, rest = text.partition("\n")
    return f"{title}\n\n````{{container}} workbook-card\n{rest.strip()}\n````\n"


def anchor(path: str, place: str) -> str:
    """Return the site's name for a cell: labels are one space for all pages, and ids repeat between notebooks."""
    return f"nb{Path(path).name[:2]}-{place}"


def _resolve(page: Page, link: str) -> tuple[str, str]:
    """Return a link as (path from the repository's root, place in it)."""
    path, _, place = link.partition("#")
    return os.path.normpath(Path(page.path).parent / path) if path else page.path, place


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
