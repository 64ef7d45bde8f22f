"""`begin(n)` in a world without earlier notebooks names what is missing, and the notebook that makes it."""

from __future__ import annotations

import os

import pytest

from helpers import projects, repositories, workbook
from helpers.cell import about, documents
from helpers.target import Target

_ALL = [int(path.name[:2]) for path in documents.notebooks()]
# Together these need everything that any notebook needs.
NUMBERS = _ALL if os.environ.get("WORKBOOK_SOAK") else [1, 3, 5, 6, 7]
API = "isn't enabled in"
REPOSITORY = "Run notebook 02_create_a_repository first."
SIGN_IN = "Run notebook 03_sign_in first."
IMAGE = "Run notebook 04_build_and_push first."


def needs(number: int) -> tuple[str, ...]:
    return about.read(documents.notebooks()[number]).needs


def missing(number: int) -> list[str]:
    try:
        workbook.begin(number)
    except workbook.NotReady as error:
        first, *lines, last = str(error).splitlines()
        assert first == "This notebook builds on what isn't there yet:"
        assert last.endswith(f"from helpers.fast_forward import fast_forward; fast_forward({number})")
        return lines
    return []


def says(number: int, *parts: str) -> None:
    lines = missing(number)
    assert len(lines) == len(parts), f"{number}: {lines}"
    assert all(part in line for part, line in zip(parts, lines, strict=True)), f"{number}: {lines}"


def test_begin_names_what_is_missing_and_the_notebook_that_makes_it(
    in_world: Target, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for number in NUMBERS:
        api = f"The Artifact Registry API {API} {in_world.project_id}. Run notebook 01"
        says(number, *([api] if needs(number) else []))
    projects.enable(in_world.location.project, projects.ARTIFACT_REGISTRY)
    for number in NUMBERS:
        wanted = [text for one, text in (("repository", REPOSITORY), ("sign-in", SIGN_IN)) if one in needs(number)]
        says(number, *wanted)
    repositories.create(in_world.repository_name, labels=in_world.labels)
    for number in NUMBERS:
        # Without a sign-in nothing can have been pushed, so it is named first.
        if "sign-in" in needs(number):
            says(number, SIGN_IN)
        else:
            says(number, *([IMAGE] if "image" in needs(number) else []))
    (tmp_path / "config.json").write_text(f'{{"credHelpers": {{"{in_world.registry_host}": "gcloud"}}}}')
    for number in NUMBERS:
        says(number, *([IMAGE] if "image" in needs(number) else []))


def test_begin_without_a_world_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBOOK_TARGET", raising=False)
    with pytest.raises(workbook.target.NoTarget, match="Open the notebooks with `make lab`"):
        workbook.begin(1)


def test_builds_that_run_gcloud_require_gcloud(in_world: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    del in_world
    monkeypatch.setattr(about.shutil, "which", lambda tool: None)
    (number,) = (about.number(path) for path in documents.notebooks() if about.read(path).gcloud)
    with pytest.raises(workbook.NotReady, match=r"gcloud isn't on the PATH, .*`make setup` downloads it"):
        workbook.begin(number)
