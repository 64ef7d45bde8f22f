"""Write the pages of the index (PEP 503). Pure.

unverified: the white space of Google's page. The index has no JSON (PEP 691), no metadata files (PEP 658) and no yanked
files (PEP 592): no page that was seen on Google has them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

_PAGE = """<!DOCTYPE html>
<html>
  <head>
    <title>{title}</title>
  </head>
  <body>
    <h1>{title}</h1>
{links}  </body>
</html>
"""


@dataclass(frozen=True)
class Link:
    """One file of a package.

    Attributes:
        sha256: hexadecimal; empty if it is unknown.
        requires_python: from the file's metadata; empty if it names no version.
    """

    file: str
    sha256: str
    requires_python: str = ""


def root(packages: Iterable[str]) -> str:
    """Return the page that lists all packages."""
    links = "".join(f'    <a href="{quote(name)}/">{escape(name)}</a><br/>\n' for name in packages)
    return _PAGE.format(title="Simple Index", links=links)


def page(package: str, links: Iterable[Link]) -> str:
    """Return the page of one package."""
    folder = f"../../{quote(package)}/"
    written = "".join(_anchor(folder, link) for link in links)
    return _PAGE.format(title=f"Links for {escape(package)}", links=written)


def _anchor(folder: str, link: Link) -> str:
    # A file name needs no escapes in HTML, and only one in a URL: this must be fast for ten thousand links.
    fragment = f"#sha256={link.sha256}" if link.sha256 else ""
    requires = f' data-requires-python="{_escaped(link.requires_python)}"' if link.requires_python else ""
    return f'    <a href="{folder}{link.file.replace("+", "%2B")}{fragment}"{requires}>{link.file}</a><br/>\n'


@functools.lru_cache(maxsize=1024)
def _escaped(text: str) -> str:
    return escape(text)
