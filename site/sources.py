"""Write the site's sources for Sphinx: copies of README, docs and notebooks, adapted to a static site.

The originals stay fit for a forge and JupyterLab. The copies differ in four ways: the front page has the table of
contents, links point to the site's pages and slides, MyST-NB folds hidden solutions, and cells that are linked to and
pictures get anchors and alternative texts.

This needs only Python's standard library and runs no notebook, so that the tests can use it.
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
# Section of the contents → its pages, in reading order. The last one takes the pages of docs/ that no other names.
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
# Code contains no links. Fences are matched first, because they may contain single backticks.
_CODE: Final = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page's path in the repository, and its section of the contents, which is empty for the front page."""

    path: str
    shelf: str

    @property
    def name(self) -> str:
        """The page's file in the site's source."""
        return "index.md" if self.path == FRONT else self.path

    @property
    def notebook(self) -> bool:
        """Whether the page is a notebook."""
        return self.path.endswith(".ipynb")


def pages(root: Path) -> tuple[Page, ...]:
    """Return every page once, the front page first and the others in reading order."""
    found = {FRONT: Page(FRONT, "")}
    for shelf, patterns in SHELVES.items():
        for path in (str(one.relative_to(root)) for pattern in patterns for one in sorted(root.glob(pattern))):
            found.setdefault(path, Page(path, shelf))
    return tuple(found.values())


def write(root: Path, into: Path) -> tuple[Page, ...]:
    """Empty the folder `into`, write the source of every page below it, and return the pages."""
    shutil.rmtree(into, ignore_errors=True)
    every = pages(root)
    targets = linked_cells(root, every)
    for page in every:
        text = (root / page.path).read_text(encoding="utf-8")
        if page.notebook:
            book = notebook(json.loads(text), page, root, every, targets)
            _put(into / page.name, json.dumps(book, ensure_ascii=False, indent=1))
        else:
            _put(into / page.name, linked(text, page, root, every) + (contents(every) if not page.shelf else ""))
    for path in sorted({path for page in every for path in downloads(root, page, every)}):
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, into / path)
    return every


def contents(every: Iterable[Page]) -> str:
    """Return the front page's hidden tables of contents, which the theme shows beside every page."""
    shelves: dict[str, list[str]] = {}
    for page in every:
        shelves.setdefault(page.shelf, []).append(page.name.rpartition(".")[0])
    return "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {shelf}\n\n" + "\n".join(names) + "\n```\n"
        for shelf, names in shelves.items()
        if shelf
    )


def links(text: str) -> list[str]:
    """Return the targets of a Markdown text's links inside the repository, except in code."""
    return _LINK.findall(_CODE.sub("", text))


def texts(root: Path, page: Page) -> list[str]:
    """Return the Markdown of a page, or of each text cell of a notebook."""
    whole = (root / page.path).read_text(encoding="utf-8")
    if not page.notebook:
        return [whole]
    return ["".join(cell["source"]) for cell in json.loads(whole)["cells"] if cell["cell_type"] == "markdown"]


def linked_cells(root: Path, every: Iterable[Page]) -> dict[str, set[str]]:
    """Return the ids of the cells that some page links to, by notebook."""
    found: dict[str, set[str]] = {}
    for page in every:
        for link in (link for text in texts(root, page) for link in links(text)):
            path, place = _resolve(page, link)
            if path.endswith(".ipynb") and place:
                found.setdefault(path, set()).add(place)
    return found


def downloads(root: Path, page: Page, every: Iterable[Page]) -> set[str]:
    """Return the files that a page links to and that are not pages, such as LICENSE. Sphinx copies them unchanged."""
    known = {one.path for one in every}
    paths = {_resolve(page, link)[0] for text in texts(root, page) for link in links(text)}
    return {path for path in paths - known if (root / path).is_file() and not _SLIDES.fullmatch(path)}


def linked(text: str, page: Page, root: Path, every: Iterable[Page]) -> str:
    """Return the text with its links pointing to pages of the site, and links to folders as plain text."""
    known = {one.path: one for one in every}

    def rewrite(found: re.Match[str]) -> str:
        path, place = _resolve(page, found["target"])
        if path in known:
            if known[path].notebook and place:
                return f"[{found['label']}](#{anchor(path, place)})"
            here = os.path.relpath(known[path].name, Path(page.name).parent)
            return f"[{found['label']}]({'' if path == page.path else here}{'#' if place else ''}{place})"
        if talk := _SLIDES.fullmatch(path):
            # site/slides.py writes these pages. Sphinx doesn't know them.
            there = os.path.relpath(f"slides/{talk[1]}.html", Path(page.name).parent)
            return f'<a href="{there}">{found["label"]}</a>'
        return found[0] if (root / path).is_file() else found["label"]

    parts = _CODE.split(text)
    # A link's label may contain code, so a link can span parts: replace code by NUL, then put it back.
    hidden = parts[1::2]
    whole = "\0".join(parts[::2])
    whole = re.sub(r"\[(?P<label>[^\]\n]*)\]\((?!\w+:)(?P<target>[^)\s]+)\)", rewrite, whole)
    return "".join(piece + code for piece, code in zip(whole.split("\0"), [*hidden, ""], strict=True))


def notebook(book: Json, page: Page, root: Path, every: Iterable[Page], targets: Mapping[str, set[str]]) -> Json:
    """Return the notebook with a card, the site's links, anchors, folded solutions and alternative texts."""
    cells: list[Json] = []
    heading = ""
    for place, cell in enumerate(book["cells"]):
        source = "".join(cell["source"])
        mark = f"({anchor(page.path, cell['id'])})=\n" if cell["id"] in targets.get(page.path, set()) else ""
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
        # The alternative text becomes an HTML attribute, which must not contain quotes or brackets.
        words = re.sub(r"[`*\"\[\]]", "", heading)
        settings["image"] = {"alt": f"Picture for “{words}”. The printed lines before it hold the same data."}
    return {"tags": tags, **({"mystnb": settings} if settings else {})}


def carded(text: str) -> str:
    """Return the text of a notebook's first cell with goal, time and cost as a card below the title."""
    title, _, rest = text.partition("\n")
    return f"{title}\n\n````{{container}} workbook-card\n{rest.strip()}\n````\n"


def anchor(path: str, place: str) -> str:
    """Return the label of a cell, which includes the notebook because labels must be unique in the whole site."""
    return f"nb{Path(path).name[:2]}-{place}"


def _resolve(page: Page, link: str) -> tuple[str, str]:
    """Return a link's path from the repository's root, and its fragment."""
    path, _, place = link.partition("#")
    return os.path.normpath(Path(page.path).parent / path) if path else page.path, place


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
