"""`make site`: the pages' sources, Sphinx over them, and a look at the result. Needs no network, runs no notebook.

Exits 0 with the folder's path; 1 when Sphinx warns, or when a page would load anything from another host.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sources
from sphinx.cmd.build import main as sphinx

HERE: Final = Path(__file__).resolve().parent
OUTPUT: Final = HERE / "_build"
# A link (<a href>) may lead away: it is followed by a person. Everything else is fetched by the page itself.
_LOADED: Final = (
    re.compile(
        r"<(?:script|img|iframe|source|audio|video|embed|object|link)\b[^>]*?\b(?:src|srcset|href|data)=[\"']?((?:https?:)?//[^\"'\s>]+)"
    ),
    re.compile(r"@import\s+(?:url\()?[\"']?((?:https?:)?//[^\"')\s]+)"),
    re.compile(r"url\(\s*[\"']?((?:https?:)?//[^\"')\s]+)"),
    re.compile(r"\b(?:fetch|import|importScripts)\(\s*[\"']((?:https?:)?//[^\"']+)"),
)


def loaded_from_elsewhere(text: str) -> list[str]:
    """The addresses on other hosts that a page, a style sheet or a script loads by itself."""
    return [found for pattern in _LOADED for found in pattern.findall(text)]


def strangers(folder: Path) -> Iterator[str]:
    """`file: address` of everything below `folder` that is loaded from elsewhere."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".html", ".css", ".js"):
            for address in loaded_from_elsewhere(path.read_text(encoding="utf-8")):
                yield f"{path.relative_to(folder)}: {address}"


def main() -> int:
    """Build; gives the exit status."""
    started = time.monotonic()
    pages = sources.write(HERE.parent, OUTPUT / "source")
    html = OUTPUT / "html"
    shutil.rmtree(html, ignore_errors=True)  # no page outlives its source
    # -E and -a: a page is built from what is there now, not from what an earlier build remembers.
    quiet = ["-q", "-W", "--keep-going", "-E", "-a"]
    code = sphinx(
        [*quiet, "-b", "html", "-c", str(HERE), "-d", str(OUTPUT / "doctrees"), str(OUTPUT / "source"), str(html)]
    )
    if code:
        return code
    if found := list(strangers(html)):
        print("These would be loaded from another host:", *found, sep="\n  ", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in html.rglob("*") if path.is_file())
    print(f"{len(pages)} pages, {size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s: {html / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
