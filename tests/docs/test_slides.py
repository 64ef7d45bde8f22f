"""The talks fit their ten minutes, have a speaker's text on every slide, and are linked from the agenda."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.site import slides, sources

ROOT = Path(__file__).parents[2]
TALKS = sorted((ROOT / "docs" / "slides").glob("*.md"))
WORKSHOP = (ROOT / "docs" / "workshop.md").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Parses a page, records the elements that it opens, and checks that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "hr"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def close(self) -> None:
        super().close()
        assert self._open == []


def test_agenda_links_every_deck() -> None:
    rows = re.findall(r"^\| \d\d:\d\d \| \[talk: [^\]]+\]\(slides/(\w+)\.md\) \| 10 \|$", WORKSHOP, re.MULTILINE)
    assert set(rows) == {path.stem for path in TALKS}
    assert "| talk" not in WORKSHOP, "a talk without slides"


@pytest.mark.parametrize("path", TALKS, ids=lambda path: path.stem)
def test_each_slide_has_a_heading_few_words_and_a_speakers_text(path: Path) -> None:
    parts = slides.parts(path.read_text(encoding="utf-8"))
    assert 6 <= len(parts) <= 10
    for part in parts:
        shown = re.sub(r"^>.*$", "", part, flags=re.MULTILINE)
        assert re.match(r"#{1,2} \S", part)
        assert len(shown.split()) <= 90, part
        assert re.search(r"^> \S", part, re.MULTILINE), part
    # A calm speaker says 130 words a minute, and may read the slides aloud.
    assert len(path.read_text(encoding="utf-8").split()) <= 1300


@pytest.mark.parametrize("path", TALKS, ids=lambda path: path.stem)
def test_deck_becomes_one_self_contained_page(path: Path) -> None:
    pytest.importorskip("markdown_it", reason="the site's environment has it: make site")
    text = path.read_text(encoding="utf-8")
    made = slides.page(text, ROOT / "site" / "static")
    reader = Reader()
    reader.feed(made)
    reader.close()
    tags = [tag for tag, _ in reader.opened]
    assert tags.count("section") == len(slides.parts(text)) == tags.count("aside")
    assert not {"link", "img", "iframe"} & set(tags)
    assert not any("src" in attributes or "href" in attributes for _, attributes in reader.opened)


def test_line_of_hyphens_in_code_does_not_separate_slides() -> None:
    assert slides.parts("# A\n\n```\n---\n```\n\n---\n\n## B\n") == ["# A\n\n```\n---\n```", "## B"]


def test_deck_without_a_heading_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with a heading"):
        slides.title("no heading")


def test_link_to_slides_points_to_their_html_page() -> None:
    every = sources.pages(ROOT)
    page = next(page for page in every if page.path == "docs/workshop.md")
    assert (
        sources.linked("[talk](slides/the_gate.md)", page, ROOT, every) == '<a href="../slides/the_gate.html">talk</a>'
    )
    assert not {path for path in sources.downloads(ROOT, page, every) if "slides" in path}
