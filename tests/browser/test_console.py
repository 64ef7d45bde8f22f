"""The console in a real browser: every look, what axe finds, and that what happens shows without a reload.

Needs Chromium (Debian: the package chromium) and npm, which fetches axe-core. `make soak` runs it;
`WORKBOOK_PICTURES=folder` keeps a picture of every page.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from cli.world.starter import World
from tests.browser import chrome
from tests.browser.test_site import LOOKS, axe, findings, keep_picture
from tests.sandbox.artifact_registry.test_artifacts import Held, held

__all__ = ["axe", "held"]

pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="make soak looks at the console in a browser"),
    pytest.mark.skipif(chrome.find() is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on the PATH, which fetches axe-core"),
]


@pytest.fixture
def tab(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[chrome.Tab]:
    """A tab in which the learner is signed in."""
    program = chrome.find()
    assert program
    with chrome.open_tab(program, tmp_path_factory.mktemp("profile")) as opened:
        opened.open(world.console())
        yield opened


def test_every_page_is_good_in_every_look(held: Held, axe: str, tab: chrome.Tab, world: World) -> None:
    held.push("a-rather-long-name/of-an-image/that-nobody-would-choose", "a-tag-of-some-length", layer=os.urandom(4000))
    project, location, repository = held.name.split("/")[1::2]
    listing = f"/console/projects/{project}/repositories/{location}/{repository}"
    pages = ["/console", f"/console/projects/{project}", listing]
    pages += [f"/console/{one}" for one in ("progress", "requests", "clock", "no")]
    origin = f"http://127.0.0.1:{world.info.port}"
    tab.open(origin + listing)
    links = "[...document.querySelectorAll('a')].map(one => one.pathname)"
    pages += [one for one in tab.ask(links) if one.startswith(f"{listing}/")]
    assert len(pages) == 9, "an image and its package"
    wrong: list[str] = []
    for number, page in enumerate(pages):
        for width, height, scheme in LOOKS:
            look = f"{page}, {width} pixels, {scheme}"
            tab.look_as(width, height, scheme)
            tab.open(origin + page)
            keep_picture(tab, f"console-{number}-{width}-{scheme}.png")
            if (wide := tab.ask("document.documentElement.scrollWidth")) > width:
                wrong.append(f"{look}: the page is {wide} pixels wide and scrolls sideways")
            wrong += [f"{look}: asks for {one}" for one in tab.requested() if not one.startswith(origin)]
            wrong += [f"{look}: {one}" for one in findings(tab, axe)]
    assert not wrong, "\n".join(wrong)


def test_a_request_shows_without_a_reload(held: Held, tab: chrome.Tab, world: World) -> None:
    tab.open(f"http://127.0.0.1:{world.info.port}/console/requests")
    held.session.get("https://artifactregistry.googleapis.com/v1/projects/shown-at-once/locations")
    shown = "document.querySelector('[data-live]').textContent.includes('shown-at-once')"
    look = f"new Promise(then => {{const look = () => {shown} ? then(true) : setTimeout(look, 50); look()}})"
    assert tab.ask(look)
