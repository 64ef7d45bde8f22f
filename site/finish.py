"""What Sphinx, MyST-NB and the theme leave undone, as a Sphinx extension."""

from __future__ import annotations

import re
from typing import Any, Final

from docutils import nodes

# Whatever may be wider than the page scrolls by itself, and whoever has no mouse must be able to reach it.
_SCROLLING: Final = re.compile(r'<(pre|div class="table-wrapper[^"]*")(?=[ >])')
_CELL: Final = re.compile(r"<td>.*?</td>", re.DOTALL)
_CODE: Final = re.compile(r'(?<=<span class="pre">)[^<]+(?=</span>)')


def terminal_is_bash(app: Any, doctree: nodes.document) -> None:
    """Colour terminal cells as the shell that they are, not as Python."""
    for block in doctree.findall(nodes.literal_block):
        if block.astext().startswith("%%terminal"):
            block["language"] = "bash"


def finish_page(app: Any, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Add what the HTML still lacks for those who use no mouse or no screen, and for narrow ones.

    Whatever scrolls gets a place in the order of the Tab key; a fold is named by the words that it shows; the menu's
    captions say which level of heading they are; long names in tables get places to break.
    """
    body = _SCROLLING.sub(r'<\1 tabindex="0"', context.get("body", ""))
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    context["body"] = _CELL.sub(lambda cell: _CODE.sub(lambda code: breakable(code[0]), cell[0]), body)
    menu = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = menu.replace('role="heading"', 'role="heading" aria-level="2"')


def breakable(name: str) -> str:
    """Return a path, a test's name or an address, with leave to break after its joints."""
    return re.sub(r"(::|[/_,=])(?=.)", r"\1<wbr>", name)


def setup(app: Any) -> dict[str, bool]:
    """Set up the extension; Sphinx calls this."""
    app.connect("doctree-read", terminal_is_bash)
    app.connect("html-page-context", finish_page, priority=900)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
