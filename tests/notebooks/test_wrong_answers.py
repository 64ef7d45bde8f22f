"""The checks of notebooks 11 to 13, asked about answers that are nearly right: each says what it found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import checks, exercises, iam, names, packages, policies, projects, repositories, retention, show
from helpers.checks import Answer
from helpers.target import ROOT, Target

Names = dict[str, Any]
_RAW = b"weights"


def answered(notebook: str, cell: str, given: Names) -> Callable[[], Answer]:
    """Run a notebook's check with these names; gives what asks it again."""
    text = (ROOT / "notebooks" / notebook).read_text(encoding="utf-8")
    [source] = ["".join(one["source"]) for one in json.loads(text)["cells"] if one["id"] == cell]
    exec(source, given)  # noqa: S102 - it is a cell of the workbook's
    number = max(exercises._exercises)
    return lambda: checks.answer(exercises._exercises[number].look)


@pytest.fixture(autouse=True)
def kernel(in_world: Target, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A learner's kernel that knows no exercise yet."""
    monkeypatch.setattr(exercises, "_exercises", {})
    monkeypatch.delenv("WORKBOOK_JOURNAL", raising=False)
    return in_world


@pytest.fixture
def thirteen(kernel: Target) -> Names:
    """What notebook 13 has defined and made when its exercises begin."""
    location = kernel.location
    projects.enable(location.project, "artifactregistry.googleapis.com", "iam.googleapis.com")
    private, public, cache, everything = (
        names.Repository(location, f"{kernel.repository}-{purpose}")
        for purpose in ("packages", "public", "cache", "all")
    )
    for one in (private, public):
        packages.create(one, labels=kernel.labels)
    packages.create(cache, labels=kernel.labels, upstream=public)
    packages.create(everything, labels=kernel.labels, members={private: 100, cache: 50})
    installer = iam.account(location.project, "installer", kernel.run)
    if not iam.account_exists(installer):
        iam.create_account(installer, kernel.run, "Installs packages")
    return {
        "wb": SimpleNamespace(project=location.project),
        "iam": iam,
        "installer": installer,
        "repositories": repositories,
        "private": private,
        "public": public,
        "cache": cache,
        "everything": everything,
    }


def test_build_server_with_more_roles_is_told_which(thirteen: Names) -> None:
    ask = answered("13_keep_packages_too.ipynb", "check", thirteen)
    member, reader = thirteen["installer"].member, "roles/artifactregistry.reader"
    assert ask().state == "not yet"
    for where, role, found in (
        (thirteen["wb"].project, reader, "on the project"),
        (thirteen["cache"], reader, f"on {thirteen['cache'].id}, too"),
        (thirteen["private"], "roles/artifactregistry.writer", f"writer on {thirteen['private'].id}, too"),
        (thirteen["everything"], "roles/artifactregistry.writer", f"writer on {thirteen['everything'].id}"),
    ):
        iam.grant(where, role, member)
        assert ask().state == "wrong"
        assert found in ask().reason
        iam.revoke(where, role, member)
    iam.grant(thirteen["everything"], reader, member)
    assert ask().state == "done"


_KEEP = {"name": "recent", "action": {"type": "Keep"}, "mostRecentVersions": {"keepCount": 3}}
_DELETE = {"name": "old", "action": {"type": "Delete"}, "condition": {"olderThan": "90d"}}


@pytest.mark.parametrize(
    ("rules", "dry", "found"),
    [
        ([_KEEP], False, "deletes after no days"),
        ([_DELETE], False, "keeps none of the most recent"),
        ([_KEEP | {"mostRecentVersions": {"keepCount": 5}}, _DELETE], False, "keeps [5]"),
        ([_KEEP, _DELETE | {"condition": {"olderThan": "30d"}}], False, "after [30] days"),
        ([_KEEP, _DELETE | {"condition": {"olderThan": "90d", "tagState": "tagged"}}], False, "has a tag"),
        (
            [_KEEP, _DELETE | {"condition": {"olderThan": "90d", "packageNamePrefixes": ["ml"]}}],
            False,
            "for each of them",
        ),
        ([_KEEP, _DELETE], True, "dry run"),
        ([_KEEP, _DELETE], False, ""),
    ],
    ids=["keep", "delete", "five", "thirty-days", "tagged", "one-package", "dry", "right"],
)
def test_policies_that_do_not_do_it_are_told_why(
    thirteen: Names, rules: list[dict[str, object]], dry: bool, found: str
) -> None:
    retention.put(thirteen["private"], policies.parse(json.dumps(rules)), dry_run=dry)
    answer = answered("13_keep_packages_too.ipynb", "check-cleanup", thirteen)()
    assert answer.state == ("wrong" if found else "done"), answer
    assert found in answer.reason


_VALUES = {"_REGION": "us-central1", "_TAG": "sha-$SHORT_SHA"}


def eleven(*triggers: dict[str, Any]) -> Names:
    """What notebook 11 has when its exercises are checked: the region's triggers."""
    return {"wb": SimpleNamespace(region=""), "commits": SimpleNamespace(triggers=lambda _: triggers)}


def trigger(name: str, push: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A trigger as Cloud Build lists it."""
    found = {"repositoryEventConfig": {"push": push}, "serviceAccount": "builder", "substitutions": _VALUES}
    return {"name": name, **found, **more}


_RELEASE = r"^v[0-9]+\.[0-9]+\.[0-9]+$"


@pytest.mark.parametrize(
    ("push", "more", "found"),
    [
        (None, {}, "not yet"),
        ({"branch": "^v1$"}, {}, "no pattern for tags"),
        ({"tag": _RELEASE, "invertRegex": True}, {}, "invertRegex"),
        ({"tag": "^v1.2.3$"}, {}, "it would build v1x2x3"),
        ({"tag": r"^v1\.2\.3$"}, {}, "it wouldn't build v10.20.30"),
        ({"tag": r"v\d+\.\d+\.\d+"}, {}, "it would build v1.2.3.4, v1.2.3-rc.1, xv1.2.3"),
        ({"tag": _RELEASE}, {"serviceAccount": "somebody"}, "account of on-main"),
        ({"tag": _RELEASE}, {"substitutions": {"_REGION": "us-central1"}}, "for _TAG"),
        ({"tag": r"^v\d+[.]\d+[.]\d+$"}, {}, "done"),
    ],
    ids=["none", "branch", "inverted", "dots", "one", "open", "account", "values", "right"],
)
def test_trigger_that_builds_other_tags_is_told_which(
    push: dict[str, Any] | None, more: dict[str, Any], found: str
) -> None:
    triggers = [trigger("on-main", {"branch": "^main$"})] + ([trigger("on-release", push, **more)] if push else [])
    answer = answered("11_ship_every_commit.ipynb", "check", eleven(*triggers))()
    assert found == answer.state or (answer.state == "wrong" and found in answer.reason), answer


@pytest.mark.parametrize(
    ("globs", "found"),
    [
        ([], "not yet"),
        (["README.md"], "leaves out docs/guide.md"),
        (["*.md"], "leaves out docs/guide.md"),
        (["docs/**"], "leaves out README.md"),
        (["**/README.md"], "leaves out docs/guide.md"),
        (["**/*.md", "sample_app/**"], "ignores sample_app/requirements.txt, too"),
        (["**"], "ignores Dockerfile, too"),
        (["**/*.md"], "done"),
        (["**.md"], "done"),
        (["*.md", "**/*.md"], "done"),
    ],
    ids=["none", "one", "flat", "folder", "readme", "code", "all", "right", "short", "twice"],
)
def test_files_that_are_ignored_are_markdown_and_all_of_it(globs: list[str], found: str) -> None:
    given = eleven(trigger("on-main", {"branch": "^main$"}, ignoredFiles=globs))
    answer = answered("11_ship_every_commit.ipynb", "check-two", given | {"re": re})()
    assert found == answer.state or (answer.state == "wrong" and found in answer.reason), answer


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, "not yet"),
        ({"SECRET_KEY": "abc"}, "a plain value"),
        ({"SECRET_KEY": "secret ml-shipped-key:latest"}, "done"),
    ],
    ids=["none", "plain", "right"],
)
def test_exposed_secret_is_reported(variables: dict[str, str], found: str) -> None:
    deploys = SimpleNamespace(variables=lambda _location, _name: variables)
    answer = answered("11_ship_every_commit.ipynb", "check-three", eleven() | {"deploys": deploys, "service": ""})()
    assert found == answer.state or (answer.state == "wrong" and found in answer.reason), answer


def twelve(images: dict[str, tuple[int, bytes | None]], artifact: dict[str, Any] | None) -> Names:
    """What notebook 12 has when exercise 2 is checked: images by tag, each with bytes and weights, and an artifact."""
    heavy = names.Image.parse("us-central1-docker.pkg.dev/a-project/small/ml-heavy")
    return {
        "small": SimpleNamespace(image=lambda name: names.Image.parse(str(heavy).replace("ml-heavy", name))),
        "heavy": heavy,
        "show": show,
        "tags": SimpleNamespace(where=lambda one: images if one == heavy else {"1.0.0": ""} if artifact else {}),
        "registry": SimpleNamespace(
            image_manifest=lambda tag: SimpleNamespace(layers={"a": 26_000_000, "b": images[tag.name][0]})
        ),
        "images": SimpleNamespace(content=lambda tag, _: images[tag.name][1]),
        "weights": SimpleNamespace(ARTIFACT="a model", manifest=lambda _: artifact),
    }


_FIRST = (60_000_000, _RAW)
_MODEL = {"artifactType": "a model", "layers": [{"digest": f"sha256:{hashlib.sha256(_RAW).hexdigest()}"}]}


@pytest.mark.parametrize(
    ("third", "artifact", "found"),
    [
        (None, None, "not yet"),
        (None, _MODEL, "the image isn't there"),
        ((100, None), None, "the artifact isn't there"),
        ((100, None), {"manifests": []}, "another artifactType"),
        ((100, None), _MODEL | {"layers": []}, "something else than weights.bin"),
        ((30_000_100, _RAW), _MODEL, "still has /data/weights.bin"),
        # What a base image of 26 MB let pass: the last line removes the weights.
        ((30_000_100, None), _MODEL, "a layer of the image still holds them: it is 30.0 MB smaller"),
        ((100, None), _MODEL, "done"),
    ],
    ids=["nothing", "image", "artifact", "no-model", "empty", "still-there", "removed-later", "right"],
)
def test_weights_that_have_not_moved_are_told_where_they_are(
    third: tuple[int, bytes | None] | None, artifact: dict[str, Any] | None, found: str
) -> None:
    given = {"1.0.0": _FIRST} | ({"3.0.0": third} if third else {})
    answer = answered("12_make_the_image_small.ipynb", "check-two", twelve(given, artifact))()
    assert found == answer.state or (answer.state == "wrong" and found in answer.reason), answer


def test_solution_of_notebook_12_works_after_a_wrong_answer() -> None:
    """A solution writes the Dockerfile anew: whatever a learner made of it, the solution is right."""
    text = (ROOT / "notebooks" / "12_make_the_image_small.ipynb").read_text(encoding="utf-8")
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["id"] in ("solution-terminal", "solution", "solution-two"):
            assert "FROM ${PYTHON_IMAGE}" in source
            assert "sed" not in source
            assert "read_text" not in source
