"""Make one self-contained HTML page from a Markdown file of slides, which lines of `---` separate.

A block quote on a slide is the speaker's text. It is hidden until N is pressed, and printed below the slide.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path("docs") / "slides"
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{sections}
</main>
<nav aria-label="Slides"><button type="button" id="back">←</button> <output id="place"></output>
<button type="button" id="on">→</button> <button type="button" id="notes" aria-pressed="false">Notes</button></nav>
<script>{script}</script>
</body>
</html>
"""


def parts(text: str) -> list[str]:
    """Return the Markdown of each slide. A line of hyphens in a code block does not separate slides."""
    found: list[list[str]] = [[]]
    in_code = False
    for line in text.splitlines():
        in_code ^= line.startswith("```")
        if line == "---" and not in_code:
            found.append([])
        else:
            found[-1].append(line)
    return ["\n".join(lines).strip() for lines in found]


def page(text: str, static: Path) -> str:
    """Return the slides as an HTML page."""
    from markdown_it import MarkdownIt  # only in the site's environment; tests use the other functions without it

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    slides = [markdown.render(part) for part in parts(text)]
    sections = [
        f'<section id="s{number}" aria-label="Slide {number} of {len(slides)}">\n{_notes(slide)}</section>'
        for number, slide in enumerate(slides, 1)
    ]
    return _PAGE.format(
        title=html.escape(title(text)),
        style=(static / "slides.css").read_text(encoding="utf-8"),
        script=(static / "slides.js").read_text(encoding="utf-8"),
        sections="\n".join(sections),
    )


def title(text: str) -> str:
    """Return the heading of the first slide."""
    found = re.match(r"# (.+)", text)
    if not found:
        raise ValueError("the first slide begins with a heading, # …")
    return found[1]


def _notes(slide: str) -> str:
    return slide.replace("<blockquote>", '<aside aria-label="What to say">').replace("</blockquote>", "</aside>")


def write(root: Path, into: Path) -> list[Path]:
    """Write a page below `into` for each text in docs/slides, and return the pages."""
    written = []
    for path in sorted((root / FOLDER).glob("*.md")):
        made = into / "slides" / f"{path.stem}.html"
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(page(path.read_text(encoding="utf-8"), root / "site" / "static"), encoding="utf-8")
        written.append(made)
    return written
