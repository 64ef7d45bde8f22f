"""Output that is HTML in a browser, and text in terminals, comparisons and tests."""

from __future__ import annotations

import html
import sys


class Rich(str):
    """A text with an HTML form, which a notebook shows for a cell's last value."""

    html: str

    def __new__(cls, text: str, as_html: str) -> Rich:
        """Create a text that a browser shows as `as_html`."""
        self = super().__new__(cls, text)
        self.html = as_html
        return self

    def __repr__(self) -> str:
        # IPython prints a text by its repr, despite the bundle below.
        return str(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html}


def lines(*parts: str) -> Rich:
    """Return the parts below each other, with their HTML forms."""
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
    """Print a text, or in a notebook display its HTML form if it has one."""
    if isinstance(text, Rich) and in_notebook():
        from IPython.display import display

        display(text)  # type: ignore[no-untyped-call]
    else:
        print(text)


def in_notebook() -> bool:
    """Return whether the code runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"
