"""Addresses that a learner's own browser opens, where the kernel runs on another machine, behind a Hub.

A Hub's server says in WORKBOOK_DOOR below which path of its own it passes on what the sandbox serves at `localhost`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Final

from helpers.cell import rich
from helpers.cell.rich import Rich

DOOR: Final = "WORKBOOK_DOOR"
_SERVICE: Final = r"(?:https://|http://(?:localhost|127\.0\.0\.1):\d+/)([a-z0-9-]+\.[a-z0-9-]+\.run\.app)(?![\w.-])"
_LINK: Final = r"https://console\.cloud\.google\.com/[\w./:;=?&%-]+"
_PROJECT: Final = r"\?project=(?P<project>[a-z0-9-]+)"
# Google's addresses as gcloud prints them (notebook 6) and as a browser shows them; unverified: all but the first.
_PAGES: Final = tuple(
    (re.compile(rf"https://console\.cloud\.google\.com/{path}"), page)
    for path, page in (
        (
            rf"cloud-build/builds(?:;region=[a-z0-9-]+)?/(?P<build>[a-f0-9-]{{36}}){_PROJECT}",
            "{project}/builds/{build}",
        ),
        (rf"run/detail/[a-z0-9-]+/[a-z0-9-]+(?:/[a-z]+)?{_PROJECT}", "{project}"),
        (
            rf"artifacts/[a-z]+/[a-z0-9-]+/(?P<location>[a-z0-9-]+)/(?P<repository>[a-z0-9-]+){_PROJECT}",
            "{project}/repositories/{location}/{repository}",
        ),
        (
            r"artifacts/docker/[a-z0-9-]+/(?P<location>[a-z0-9-]+)/(?P<repository>[a-z0-9-]+)/(?P<image>[\w.%-]+)/"
            rf"(?P<digest>sha256:[a-f0-9]{{64}}){_PROJECT}",
            "{project}/repositories/{location}/{repository}/{image}@{digest}",
        ),
    )
)


def of_services(output: str, environment: Mapping[str, str]) -> list[str]:
    """Return where a browser opens the services that an output names; nothing but behind a Hub. Pure."""
    door = environment.get(DOOR, "")
    hosts = dict.fromkeys(re.findall(_SERVICE, output)) if door else {}
    return [f"{door}/{host}/" for host in hosts]


def of_console(link: str) -> str:
    """Return the sandbox console's page for a link to Google's, as gcloud prints it; "" where there is none. Pure.

    Builds, services, repositories and images have pages.
    """
    for pattern, page in _PAGES:
        if found := pattern.fullmatch(link):
            return "/projects/" + page.format(**found.groupdict())
    return ""


def for_browser(output: str, environment: Mapping[str, str]) -> list[str]:
    """Return where a browser opens the services and console pages of an output; nothing but behind a Hub. Pure."""
    door = environment.get(DOOR, "")
    pages = [of_console(link) for link in re.findall(_LINK, output)] if door else []
    return of_services(output, environment) + [f"{door}/console{page}" for page in dict.fromkeys(pages) if page]


def show(output: str, environment: Mapping[str, str], write: Callable[[str], object]) -> None:
    """Say below a cell's output what to open in the browser, as a link where there can be one."""
    for address in for_browser(output, environment):
        text = f"In your browser: {address}"
        if rich.in_notebook():
            quoted = html.escape(address, quote=True)
            link = f'<a href="{quoted}" target="_blank" rel="noopener">{quoted}</a>'
            rich.show(Rich(text, f"In your browser: {link}"))
        else:
            write(f"\n{text}\n")
