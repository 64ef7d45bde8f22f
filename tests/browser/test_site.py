"""The site in a real browser: nothing from another host, no page that scrolls sideways, nothing that axe finds serious.

Needs Chromium (Debian: the package chromium) and npm, which fetches axe-core (MPL-2.0). `make soak` runs it;
`WORKBOOK_PICTURES=folder` keeps a picture of every page.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chrome
from tests.docs.site import sources

ROOT = Path(__file__).parents[2]
AXE_VERSION = "4.14.1"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
WHOLE = os.environ.get("WORKBOOK_SOAK") == "1"
SCREENS = [(1280, 900), (390, 844)]
LOOKS = [(width, height, scheme) for width, height in SCREENS for scheme in ("light", "dark")]
PAGES = [one.name.rpartition(".")[0] + ".html" for one in sources.pages(ROOT)] + ["search.html"]
TALKS = [f"slides/{path.stem}.html" for path in sorted((ROOT / "docs" / "slides").glob("*.md"))]
# What a reader unfolds must be as good as what is seen at once.
_UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"
_AXE = "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found.violations))"

pytestmark = [
    pytest.mark.skipif(not WHOLE, reason="make soak looks at the site in a browser"),
    pytest.mark.skipif(chrome.find() is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on the PATH, which fetches axe-core"),
]


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder of the pages, built as anybody builds it."""
    subprocess.run(["make", "-C", str(ROOT), "site"], check=True, timeout=600)
    return ROOT / "site" / "_build" / "html"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's source: the version and the bytes that were looked at, and no other."""
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", f"axe-core@{AXE_VERSION}", "--silent"]
    packed = subprocess.run(command, cwd=folder, check=True, timeout=300, capture_output=True, text=True)
    content = (folder / packed.stdout.strip()).read_bytes()
    assert base64.b64encode(hashlib.sha512(content).digest()).decode() == AXE_SHA512
    with tarfile.open(fileobj=io.BytesIO(content)) as package:
        source = package.extractfile("package/axe.min.js")
        assert source is not None
        return source.read().decode()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chrome.Tab]:
    """A tab of a browser that can reach no other host."""
    program = chrome.find()
    assert program
    with chrome.open_tab(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def findings(tab: chrome.Tab, axe: str) -> list[str]:
    """What axe calls serious or critical on the page as it is now: rule, place, why."""
    tab.ask(f"{axe}; true")
    violations: list[dict[str, Any]] = json.loads(tab.ask(_AXE))
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['failureSummary'].splitlines()[-1].strip()}"
        for one in violations
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("page", [*PAGES, *TALKS])
def test_a_page_is_good_in_every_look(page: str, site: Path, axe: str, tab: chrome.Tab) -> None:
    wrong: list[str] = []
    for width, height, scheme in LOOKS:
        look = f"{width} pixels, {scheme}"
        tab.look_as(width, height, scheme)
        tab.open((site / page).as_uri())
        keep_picture(tab, f"{page.replace('/', '-')}-{width}-{scheme}.png")
        tab.ask(_UNFOLD)
        wide = tab.ask("document.documentElement.scrollWidth")
        if wide > width:
            wrong.append(f"{look}: the page is {wide} pixels wide and scrolls sideways")
        wrong += [f"{look}: asks for {one}" for one in tab.requested() if not one.startswith(("file:", "data:"))]
        wrong += [f"{look}: {one}" for one in findings(tab, axe)]
    assert not wrong, "\n".join(wrong)


def keep_picture(tab: chrome.Tab, name: str) -> None:
    if folder := os.environ.get("WORKBOOK_PICTURES"):
        (Path(folder) / name).write_bytes(tab.picture())


def test_the_search_finds_without_a_server(site: Path, tab: chrome.Tab) -> None:
    tab.open((site / "search.html").as_uri() + "?q=rollback")
    # The page says itself when it has looked through everything.
    said = "document.querySelector('.search-summary')?.textContent.includes('finished')"
    tab.ask(f"new Promise(then => {{const look = () => {said} ? then() : setTimeout(look, 20); look()}})")
    found = tab.ask("[...document.querySelectorAll('#search-results li a')].map(one => one.textContent)")
    assert any("Build in the cloud" in title for title in found), found


def test_a_command_is_copied_without_what_a_terminal_does_not_know(site: Path, tab: chrome.Tab) -> None:
    tab.open((site / "notebooks/02_create_a_repository.html").as_uri())
    # A browser without a window has no clipboard to ask for.
    tab.ask(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async text => { window.copied = text }}})"
    )
    tab.ask("document.dispatchEvent(new Event('DOMContentLoaded'))")
    copied: list[str] = tab.ask(
        "(async () => { const all = []; for (const one of document.querySelectorAll('button.copy'))"
        " { one.click(); await null; all.push(window.copied) } return all })()"
    )
    assert any(text.startswith("gcloud artifacts repositories create") for text in copied), copied
    assert not any("%%terminal" in text or text.endswith("\n") for text in copied)


@pytest.mark.parametrize("talk", TALKS)
def test_keys_turn_the_slides_and_show_what_to_say(talk: str, site: Path, tab: chrome.Tab) -> None:
    def press(key: str) -> tuple[str, bool]:
        """The slides that are seen after a key, and whether the speaker's words are."""
        tab.ask(f"dispatchEvent(new KeyboardEvent('keydown', {{key: {key!r}}}))")
        seen = "[...document.querySelectorAll('section')].filter(one => one.offsetHeight).map(one => one.id).join()"
        return tab.ask(seen), tab.ask("document.querySelector('.now aside').offsetHeight > 0")

    tab.look_as(1280, 900, "light")
    tab.open((site / talk).as_uri())
    assert press("ArrowLeft") == ("s1", False)
    assert press("ArrowRight") == ("s2", False)
    assert press("n") == ("s2", True)
    last, _ = press("End")
    assert press("PageDown")[0] == last != "s2"
    # From another page: a change of the place alone loads nothing.
    tab.open("about:blank")
    tab.open((site / talk).as_uri() + "#s3")
    # Every slide fits a projector, with its notes hidden.
    for _ in range(2, int(last[1:])):
        assert tab.ask("document.documentElement.scrollHeight <= innerHeight"), press("none")
        press("ArrowRight")


def test_axe_sees_a_planted_fault(site: Path, axe: str, tab: chrome.Tab) -> None:
    tab.open((site / "index.html").as_uri())
    fault = "<img src='data:,'><p style='color: #ccc; background: #fff'>can you read this?</p>"
    tab.ask(f"document.querySelector('article').insertAdjacentHTML('afterbegin', {json.dumps(fault)})")
    found = "\n".join(findings(tab, axe))
    assert "image-alt" in found
    assert "color-contrast" in found
