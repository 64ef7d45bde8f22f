"""`make site`: the pages' sources, Sphinx over them, and a look at the result. Needs no network, runs no notebook.

Exits 0 with the folder's path; 1 when Sphinx warns, or when a page would load anything from another host.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Final

import offline
import slides
import sources
from sphinx.cmd.build import main as sphinx

HERE: Final = Path(__file__).resolve().parent
OUTPUT: Final = HERE / "_build"


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
    talks = slides.write(HERE.parent, html)
    if found := list(offline.strangers(html)):
        print("These would be loaded from another host:", *found, sep="\n  ", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in html.rglob("*") if path.is_file())
    made = f"{len(pages)} pages, {len(talks)} talks, {size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s"
    print(f"{made}: {html / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
