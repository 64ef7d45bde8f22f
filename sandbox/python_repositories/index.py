"""The pages of the index, PEP 503. Pure.

unverified: Google's own page, as far as its spaces go. It serves no JSON (PEP 691), no metadata beside a file (PEP 658)
and no yanked files (PEP 592); nothing that was seen of it has them.
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
        sha256: hexadecimal; empty where it is not known.
        requires_python: of the file's metadata, empty where it says nothing.
    """

    file: str
    sha256: str
    requires_python: str = ""


def root(packages: Iterable[str]) -> str:
    """Return the page with all packages."""
    links = "".join(f'    <a href="{quote(name)}/">{escape(name)}</a><br/>\n' for name in packages)
    return _PAGE.format(title="Simple Index", links=links)


def page(package: str, links: Iterable[Link]) -> str:
    """Return the page of one package."""
    folder = f"../../{quote(package)}/"
    written = "".join(_anchor(folder, link) for link in links)
    return _PAGE.format(title=f"Links for {escape(package)}", links=written)


def _anchor(folder: str, link: Link) -> str:
    # Names of files hold nothing that HTML escapes, and one character that an address does: ten thousand links count.
    fragment = f"#sha256={link.sha256}" if link.sha256 else ""
    requires = f' data-requires-python="{_escaped(link.requires_python)}"' if link.requires_python else ""
    return f'    <a href="{folder}{link.file.replace("+", "%2B")}{fragment}"{requires}>{link.file}</a><br/>\n'


@functools.lru_cache(maxsize=1024)
def _escaped(text: str) -> str:
    return escape(text)
