"""Output that a browser reads as HTML, and everything else as text: terminals, comparisons, tests."""

from __future__ import annotations

import html
import sys


class Rich(str):
    """A text that knows how it looks in a browser. As a cell's last value it shows itself."""

    html: str

    def __new__(cls, text: str, as_html: str) -> Rich:
        """Make a text that a browser shows as `as_html`."""
        self = super().__new__(cls, text)
        self.html = as_html
        return self

    def __repr__(self) -> str:
        # IPython prints a text by its repr, also where the bundle below has one.
        return str(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html}


def lines(*parts: str) -> Rich:
    """Return the parts below each other; those that are rich stay so."""
    shown: list[str] = []
    plain: list[str] = []
    for part in (*parts, Rich("", "")):
        if isinstance(part, Rich):
            if plain:
                shown.append(f'<pre style="margin: 0.5em 0">{html.escape("".join(plain).strip(chr(10)))}</pre>')
            plain = []
            shown.append(part.html)
        else:
            plain.append(f"{part}\n")
    return Rich("\n".join(parts), "\n".join(one for one in shown if one))


def show(text: str) -> None:
    """Print a text; in a notebook a rich one as HTML, with the text beside it."""
    if isinstance(text, Rich) and in_notebook():
        from IPython.display import display

        display(text)  # type: ignore[no-untyped-call]
    else:
        print(text)


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"
