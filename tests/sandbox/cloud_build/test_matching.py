"""When a trigger fires: every case of `trigger_cases.toml`, and what the table cannot say."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.cloud_build import matching
from sandbox.cloud_build.matching import BadPattern, Change

TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("trigger_cases.toml").read_text(encoding="utf-8"))
SHA = "0123456789abcdef0123456789abcdef01234567"
PUSH = {"name": "t", "github": {"push": {"branch": ".*"}}}


def rows(section: str, cells: int) -> list[Any]:
    """A section's cases with their cells, each with an id that says its place."""
    found = []
    for place, group in enumerate(TABLE[section]):
        assert group["source"]
        for number, line in enumerate(group["cases"].strip("\n").splitlines()):
            # From the right: pipes stand in patterns too.
            found_cells = [cell.strip() for cell in line.rsplit("|", cells - 1)]
            assert len(found_cells) == cells, line
            found.append(pytest.param(group, found_cells, id=f"{section}-{place}-{number}"))
    return found


@pytest.mark.parametrize(("group", "cells"), rows("push", 3))
def test_patterns(group: dict[str, Any], cells: list[str]) -> None:
    pattern, name, fires = cells
    filter_ = {group["kind"]: pattern, **({"invertRegex": True} if group.get("invert") else {})}
    change = Change(branch=name) if group["kind"] == "branch" else Change(tag=name)
    for config in ("github", "repositoryEventConfig"):
        assert (matching.why_not({"name": "t", config: {"push": filter_}}, change) == "") == (fires == "yes")
    other = Change(tag=name) if group["kind"] == "branch" else Change(branch=name)
    assert matching.why_not({"name": "t", "github": {"push": filter_}}, other)


@pytest.mark.parametrize("pattern", TABLE["refused"]["patterns"])
def test_patterns_that_re2_does_not_take(pattern: str) -> None:
    with pytest.raises(BadPattern):
        matching.compile_pattern(pattern)


def test_a_refused_pattern_leaves_nothing_on_stderr() -> None:
    code = "from sandbox.cloud_build import matching\ntry: matching.compile_pattern('(?=x)')\nexcept ValueError: pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(("group", "cells"), rows("files", 4))
def test_files(group: dict[str, Any], cells: list[str]) -> None:
    included, ignored, files = ([] if cell == "-" else cell.split() for cell in cells[:3])
    trigger = {**PUSH, "includedFiles": included, "ignoredFiles": ignored}
    reason = matching.why_not(trigger, Change(branch="main", files=tuple(files)))
    assert (reason == "") == (cells[3] == "yes"), reason


@pytest.mark.parametrize("glob", TABLE["bad_globs"]["globs"])
def test_globs_that_are_none(glob: str) -> None:
    with pytest.raises(BadPattern):
        matching.compile_glob(glob)


@pytest.mark.parametrize(("group", "cells"), rows("pull_request", 5))
def test_pull_requests(group: dict[str, Any], cells: list[str]) -> None:
    control, trusted, command, comment, fires = cells
    trigger = {"name": "t", "github": {"pullRequest": {"branch": "^main$", "commentControl": control}}}
    change = Change(
        branch="main",
        pull_request=True,
        head="topic",
        trusted=trusted == "yes",
        command=command == "yes",
        comment=comment == "yes",
    )
    assert (matching.why_not(trigger, change) == "") == (fires == "yes")


@pytest.mark.parametrize(("group", "cells"), rows("message", 2))
def test_messages(group: dict[str, Any], cells: list[str]) -> None:
    reason = matching.why_not(PUSH, Change(branch="main", message=f"{cells[0]}\n\nmore of it"))
    assert (reason == "") == (cells[1] == "yes")


@pytest.mark.parametrize(("group", "cells"), rows("substitution", 3))
def test_substitutions(group: dict[str, Any], cells: list[str]) -> None:
    event, key, value = cells
    change = {
        "branch": Change(branch="main"),
        "tag": Change(tag="v1.0.0"),
        "pull": Change(branch="main", head="topic", pull_request=True),
    }[event]
    trigger = {"name": "on-push", "filename": "ci/cloudbuild.yaml"}
    url = "https://github.com/mallory/app"
    found = matching.substitutions(trigger, change, commit=SHA, repository="acme/app", number=7, head_url=url)
    assert found.get(key, "") == value


def test_the_table_has_its_two_hundred_cases() -> None:
    lines = [
        line
        for section in TABLE.values()
        if isinstance(section, list)
        for group in section
        for line in group["cases"].strip("\n").splitlines()
    ]
    assert len(lines) + len(TABLE["refused"]["patterns"]) + len(TABLE["bad_globs"]["globs"]) >= 200


@pytest.mark.parametrize(
    ("trigger", "change", "says"),
    [
        ({**PUSH, "disabled": True}, Change(branch="main"), "disabled"),
        (PUSH, Change(branch="main", pull_request=True, head="topic"), "for pushes"),
        ({"name": "t", "github": {"pullRequest": {"branch": ".*"}}}, Change(branch="main"), "for pull requests"),
        (
            {"name": "t", "github": {"pullRequest": {"branch": "^x$"}}},
            Change(branch="y", pull_request=True),
            "does not",
        ),
        ({"name": "t"}, Change(branch="main"), "for pull requests"),
    ],
    ids=["disabled", "push-hears-of-a-pull-request", "pull-request-hears-of-a-push", "other-base", "no-event"],
)
def test_what_never_fires(trigger: dict[str, Any], change: Change, says: str) -> None:
    assert says in matching.why_not(trigger, change)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30), st.text(max_size=30))
def test_every_glob_is_read_or_refused(glob: str, path: str) -> None:
    try:
        matching.compile_glob(glob)
    except BadPattern:
        return
    matching.why_not({**PUSH, "includedFiles": [glob]}, Change(branch="main", files=(path,)))


@given(st.text(st.characters(exclude_characters="*?[\\", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_name_without_signs_matches_itself_alone(name: str) -> None:
    trigger = {**PUSH, "includedFiles": [name]}
    assert matching.why_not(trigger, Change(branch="main", files=(name,))) == ""
    assert matching.why_not(trigger, Change(branch="main", files=(f"{name}x",)))
