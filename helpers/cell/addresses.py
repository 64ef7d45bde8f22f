"""Find addresses for the learner's browser when the kernel runs on another machine, behind a JupyterHub.

WORKBOOK_DOOR is the path at which the Hub's server forwards to the sandbox at `localhost`.
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
# Google's addresses as gcloud prints them (notebook 6) and a browser shows them. All but the first are unverified.
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
    """Return the browser's addresses of the services in an output, if the kernel is behind a Hub. Pure."""
    door = environment.get(DOOR, "")
    hosts = dict.fromkeys(re.findall(_SERVICE, output)) if door else {}
    return [f"{door}/{host}/" for host in hosts]


def of_console(link: str) -> str:
    """Return the sandbox console's page for a link to Google's, or "" if there is none. Pure.

    Builds, services, repositories and images have pages.
    """
    for pattern, page in _PAGES:
        if found := pattern.fullmatch(link):
            return "/projects/" + page.format(**found.groupdict())
    return ""


def for_browser(output: str, environment: Mapping[str, str]) -> list[str]:
    """Return the browser's addresses of an output's services and console pages, behind a Hub only. Pure."""
    door = environment.get(DOOR, "")
    pages = [of_console(link) for link in re.findall(_LINK, output)] if door else []
    return of_services(output, environment) + [f"{door}/console{page}" for page in dict.fromkeys(pages) if page]


def show(output: str, environment: Mapping[str, str], write: Callable[[str], object]) -> None:
    """Show the browser's addresses below a cell's output, as links in a notebook."""
    for address in for_browser(output, environment):
        text = f"In your browser: {address}"
        if rich.in_notebook():
            quoted = html.escape(address, quote=True)
            link = f'<a href="{quoted}" target="_blank" rel="noopener">{quoted}</a>'
            rich.show(Rich(text, f"In your browser: {link}"))
        else:
            write(f"\n{text}\n")
