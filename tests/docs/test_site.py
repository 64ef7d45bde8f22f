"""The site's sources: every page is in a table of contents, every link has a target, every solution is folded.

`make soak` tests `make site` itself with Sphinx, and the pages in a browser (tests/browser).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.docs.site import offline, sources

ROOT = Path(__file__).parents[2]
EVERY = sources.pages(ROOT)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of every page, as Sphinx gets it."""
    folder = tmp_path_factory.mktemp("site")
    sources.write(ROOT, folder)
    return folder


def texts(path: Path) -> list[str]:
    """The Markdown of a written page."""
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def test_every_notebook_and_page_is_in_the_contents_once() -> None:
    notebooks = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("notebooks/*.ipynb"))
    docs = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))
    paths = [page.path for page in EVERY]
    assert paths[0] == "README.md"
    assert sorted(paths[1:]) == sorted([*notebooks, *docs, "CONTRIBUTING.md", "SECURITY.md"])
    assert [page.path for page in EVERY if page.shelf == "The course"] == notebooks


def test_the_front_page_lists_every_other_page(written: Path) -> None:
    [front] = texts(written / "index.md")
    listed = re.findall(r"^(?:docs|notebooks)?/?[\w]+$", front.partition("```{toctree}")[2], re.MULTILINE)
    assert listed == [page.name.rpartition(".")[0] for page in EVERY[1:]]


def test_every_link_has_a_target_in_the_site(written: Path) -> None:
    labels = {
        label
        for page in EVERY
        for text in texts(written / page.name)
        for label in re.findall(r"^\((nb\d\d-[\w-]+)\)=", text, re.M)
    }
    wrong = []
    for page in EVERY:
        for link in (link for text in texts(written / page.name) for link in sources.links(text)):
            path, _, place = link.partition("#")
            if path and not (written / page.name).parent.joinpath(path).is_file():
                wrong.append(f"{page.name}: {link}")
            if place.startswith("nb") and place not in labels:
                wrong.append(f"{page.name}: {link}: no cell has this label")
    assert not wrong, "\n".join(wrong)


def test_errata_link_to_cells(written: Path) -> None:
    [text] = texts(written / "docs/errata.md")
    assert "](#nb03-login)" in text
    assert ".ipynb#" not in text


@pytest.mark.parametrize("page", [page for page in EVERY if page.notebook], ids=lambda page: page.path)
def test_solutions_are_folded_and_pictures_have_alternative_texts(page: sources.Page, written: Path) -> None:
    before = json.loads((ROOT / page.path).read_text(encoding="utf-8"))["cells"]
    after = {cell["id"]: cell for cell in json.loads((written / page.name).read_text(encoding="utf-8"))["cells"]}
    for cell in (cell for cell in before if cell["cell_type"] == "code"):
        metadata = after[cell["id"]]["metadata"]
        hidden = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        assert ("hide-input" in metadata["tags"]) == hidden, cell["id"]
        assert after[cell["id"]]["outputs"] == cell["outputs"], cell["id"]
        if any(kind.startswith("image/") for output in cell["outputs"] for kind in output.get("data", {})):
            assert len(metadata["mystnb"]["image"]["alt"]) > 20, cell["id"]


def test_links_are_rewritten_except_in_code() -> None:
    page = next(page for page in EVERY if page.path == "docs/errata.md")
    text = (
        "[front](../README.md#where-things-are) [cell](../notebooks/03_sign_in.ipynb#login) [there](fidelity.md) "
        "[code `a`](../LICENSE) [folder](../sandbox) [away](https://example.com) `[no](link.md)`\n"
        "```\n[no](link.md)\n```"
    )
    assert sources.linked(text, page, ROOT, EVERY) == (
        "[front](../index.md#where-things-are) [cell](#nb03-login) [there](fidelity.md) "
        "[code `a`](../LICENSE) folder [away](https://example.com) `[no](link.md)`\n"
        "```\n[no](link.md)\n```"
    )


LOADED = [
    '<script src="https://cdn.example.com/require.js"></script>',
    '<link rel="stylesheet" href="//fonts.example.com/css">',
    "<img alt='x' src='http://example.com/x.png'>",
    "@import url('https://example.com/a.css');",
    "@font-face { src: url(https://example.com/a.woff2) }",
    'fetch("https://example.com/data.json")',
]


@pytest.mark.parametrize("text", LOADED)
def test_load_from_another_host_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(text)
    assert list(offline.external_loads(tmp_path))


def test_links_and_local_files_are_no_external_loads() -> None:
    text = (
        '<a href="https://example.com">x</a><script src="_static/a.js"></script><img src="data:image/png;base64,//x">'
    )
    assert offline.loaded_from_elsewhere(text) == []


def test_both_locks_have_the_same_versions() -> None:
    """The site is built with the versions that the tests use."""

    def versions(path: Path) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(name, set()).add(version)
        return found

    whole, own = versions(ROOT / "requirements.txt"), versions(ROOT / "site/requirements.txt")
    assert {"sphinx", "myst-nb", "furo"} <= set(own)
    assert not {"sphinx", "myst-nb", "furo"} & set(whole), "the workbook's set-up doesn't need the site's tools"
    different = {name: (own[name], whole[name]) for name in own.keys() & whole.keys() if own[name] != whole[name]}
    assert not different, "make lock writes both locks"


def test_git_ignores_the_built_pages() -> None:
    assert "/site/_build/" in (ROOT / ".gitignore").read_text().splitlines()
