"""`make site`: write the pages' sources, build them with Sphinx, and check the result.

Needs no network and runs no notebook. The exit status is 1 if Sphinx warns, or if a page would load anything from
another host.
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
    """Build the site, and return the exit status."""
    started = time.monotonic()
    pages = sources.write(HERE.parent, OUTPUT / "source")
    html = OUTPUT / "html"
    shutil.rmtree(html, ignore_errors=True)  # or a page whose source is gone would stay
    # -E and -a: build every page anew instead of trusting the doctrees of an earlier build.
    options = ["-q", "-W", "--keep-going", "-E", "-a", "-b", "html", "-c", str(HERE)]
    if code := sphinx([*options, "-d", str(OUTPUT / "doctrees"), str(OUTPUT / "source"), str(html)]):
        return code
    talks = slides.write(HERE.parent, html)
    if found := list(offline.external_loads(html)):
        print("These would be loaded from another host:", *found, sep="\n  ", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in html.rglob("*") if path.is_file())
    made = f"{len(pages)} pages, {len(talks)} talks, {size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s"
    print(f"{made}: {html / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
