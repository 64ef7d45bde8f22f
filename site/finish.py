"""A Sphinx extension that adds what Sphinx, MyST-NB and the theme lack, mostly for accessibility."""

from __future__ import annotations

import re
from typing import Any, Final

from docutils import nodes

# Blocks that may be wider than the page and scroll. The keyboard must reach them too.
_SCROLLING: Final = re.compile(r'<(pre|div class="table-wrapper[^"]*")(?=[ >])')
_CELL: Final = re.compile(r"<td>.*?</td>", re.DOTALL)
_CODE: Final = re.compile(r'(?<=<span class="pre">)[^<]+(?=</span>)')


def terminal_is_bash(app: Any, doctree: nodes.document) -> None:
    """Highlight terminal cells as bash instead of Python."""
    for block in doctree.findall(nodes.literal_block):
        if block.astext().startswith("%%terminal"):
            block["language"] = "bash"


def finish_page(app: Any, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Complete a page's HTML for keyboards, screen readers and narrow screens.

    Scrolling blocks can be reached with the Tab key, a fold's accessible name is the text that it shows, the menu's
    captions have a heading level, and long names in tables may break.
    """
    body = _SCROLLING.sub(r'<\1 tabindex="0"', context.get("body", ""))
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    context["body"] = _CELL.sub(lambda cell: _CODE.sub(lambda code: breakable(code[0]), cell[0]), body)
    menu = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = menu.replace('role="heading"', 'role="heading" aria-level="2"')


def breakable(name: str) -> str:
    """Return a path, a test's name or an address with a possible line break after each separator."""
    return re.sub(r"(::|[/_,=])(?=.)", r"\1<wbr>", name)


def setup(app: Any) -> dict[str, bool]:
    """Connect the extension's handlers. Sphinx calls this."""
    app.connect("doctree-read", terminal_is_bash)
    app.connect("html-page-context", finish_page, priority=900)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
