"""The live checklist: each line in each of its states, and once read from a real repository."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.cloud.artifactregistry_v1 import types

from helpers import access, checklist, identity, names, policies, projects, registry, repositories, retention
from helpers.checklist import Found, judge
from helpers.fates import Snapshot, Stored
from helpers.target import Target

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
PLACE = names.Repository(names.Location(names.Project("my-project"), "us-central1"), "ml-images")
IMAGE = PLACE.image("ml-predictor")
ONE = f"sha256:{'1' * 64}"
GATE = "gate bash SCAN=$$(gcloud artifacts docker images scan x) grep -x CRITICAL"
CI = "serviceAccount:ci@my-project.iam.gserviceaccount.com"
Config = types.Repository.VulnerabilityScanningConfig
POLICIES = policies.parse(
    json.dumps(
        [
            {"name": "old", "action": {"type": "Delete"}, "condition": {"tagState": "any", "olderThan": "30d"}},
            {
                "name": "keep-releases",
                "action": {"type": "Keep"},
                "condition": {"tagState": "tagged", "tagPrefixes": ["1"]},
            },
            {"name": "keep-2", "action": {"type": "Keep"}, "mostRecentVersions": {"keepCount": 2}},
        ]
    )
)


def version(tags: tuple[str, ...], digest: str = ONE, days: int = 1) -> tuple[repositories.StoredImage, Stored]:
    uploaded = NOW - timedelta(days=days)
    return (
        repositories.StoredImage(IMAGE.digest(digest), tags, 10, "m", uploaded),
        Stored(IMAGE.path, digest, uploaded, tags, ((digest, 10),)),
    )


def found() -> Found:
    """A repository with which nothing is wrong."""
    pairs = [version(("1.0.0", "sha-1c0ffee")), *(version((f"sha-a00000{n}",), f"sha256:{n:064}", n) for n in range(3))]
    return Found(
        about=types.Repository(
            format_=types.Repository.Format.DOCKER,
            vulnerability_scanning_config=Config(enablement_state=Config.EnablementState.SCANNING_ACTIVE),
        ),
        versions=tuple(one for one, _ in pairs),
        stored=Snapshot(str(PLACE), NOW, tuple(one for _, one in pairs), in_force=POLICIES),
        builds=(("SUCCESS", (f"{IMAGE}:1.0.0",)),),
        deployed=(f"{IMAGE}@{ONE}",),
        pushers=(CI,),
        wide={},
        steps=("build", GATE, "push", "deploy gcloud run deploy"),
    )


def test_a_repository_with_which_nothing_is_wrong() -> None:
    report = judge(IMAGE, found())
    assert [line.state for line in report.lines] == ["done"] * 8
    assert report.text().endswith("8 of 8 done")
    assert report.markdown().count("- [x] ") == 8


BARE = {"about": types.Repository(format_=types.Repository.Format.DOCKER)}
TAGGED = version(("1.0.0", "v2"))


@pytest.mark.parametrize(
    ("key", "change", "state", "says"),
    [
        ("repository", {"about": types.Repository(format_=types.Repository.Format.PYTHON)}, "wrong", "PYTHON"),
        ("tags", {"versions": ()}, "not yet", "no image ml-predictor"),
        (
            "tags",
            {"versions": (TAGGED[0],)},
            "wrong",
            "no sha- tag stands on this version, so nobody can say which commit",
        ),
        ("scanning", BARE, "not yet", "switched off"),
        ("build", {"builds": None}, "not yet", "isn't enabled"),
        ("build", {"builds": (("SUCCESS", (f"{PLACE}/other:1",)),)}, "not yet", "no build has pushed this image"),
        ("build", {"builds": (("FAILURE", (f"{IMAGE}:2",)), ("SUCCESS", (f"{IMAGE}:1",)))}, "wrong", "FAILURE"),
        ("gate", {"steps": ("build", "push")}, "not yet", "no step"),
        ("gate", {"steps": (GATE.replace("$$", "$").replace("(gcloud", "RESULT"),)}, "wrong", "$$RESULT"),
        ("gate", {"steps": (f"{GATE} vulnerabilityCount",)}, "wrong", "a field that no scan has"),
        ("gate", {"steps": (GATE.replace("CRITICAL", "x"),)}, "wrong", "which severity"),
        ("gate", {"steps": ("gcloud run deploy", GATE)}, "wrong", "before the gate"),
        ("gate", {"steps": (f'case "${{_GATE}}" in {GATE}',), "empty": ("_GATE",)}, "not yet", "off unless _GATE"),
        ("push", {"pushers": ()}, "not yet", "no account of a build"),
        ("push", {"pushers": ("user:me@example.com",)}, "not yet", "with your own"),
        ("push", {"pushers": (CI, "user:she@example.com")}, "wrong", "user:she@example.com may push"),
        ("push", {"pushers": (CI, "allUsers")}, "wrong", "allUsers may push"),
        ("push", {"wide": {CI: "a basic role reaches everything"}}, "wrong", "a basic role"),
        ("latest", {"deployed": None}, "not yet", "no service"),
        ("latest", {"deployed": (f"{PLACE}/other:latest",)}, "not yet", "no service"),
        ("latest", {"deployed": (f"{IMAGE}:latest",)}, "wrong", "ml-predictor:latest is a name that can move"),
        ("latest", {"deployed": (str(IMAGE),)}, "wrong", "ml-predictor is a name that can move"),
    ],
)
def test_each_line_says_what_it_found(key: str, change: dict[str, object], state: str, says: str) -> None:
    line = judge(IMAGE, dataclasses.replace(found(), **change), "user:me@example.com").line(key)
    assert line.state == state
    assert says in line.reason
    assert f"{state}: {line.reason} (notebook {line.notebook})" in str(line)


@pytest.mark.parametrize(
    ("change", "state", "says"),
    [
        ({"in_force": ()}, "not yet", "there is no policy"),
        ({"dry_run": True}, "wrong", "dry run only"),
        ({"in_force": POLICIES[1:]}, "wrong", "Keep policies alone delete nothing"),
        (
            {
                "in_force": policies.parse(
                    '[{"name": "u", "action": {"type": "Delete"}, "condition": {"tagState": "untagged"}}]'
                )
            },
            "wrong",
            "never matches",
        ),
        ({"versions": (TAGGED[1],)}, "done", ""),
    ],
)
def test_policies_must_be_in_force_and_able_to_delete(change: dict[str, object], state: str, says: str) -> None:
    stored = dataclasses.replace(found().stored, **change)
    line = judge(IMAGE, dataclasses.replace(found(), stored=stored)).line("cleanup")
    assert (line.state, says in line.reason) == (state, True), line


def test_a_multi_region_is_not_one_region() -> None:
    image = names.Repository(names.Location(names.Project("my-project"), "europe"), "r").image("i")
    assert "multi-region" in judge(image, found()).line("repository").reason


def test_a_child_of_an_index_needs_no_tags_of_its_own() -> None:
    image, stored = TAGGED
    child = dataclasses.replace(stored, parents=("sha256:0",))
    state = dataclasses.replace(found(), versions=(dataclasses.replace(image, tags=("1.0.0-amd64",)),))
    assert judge(IMAGE, state).line("tags").state == "wrong"
    listed = dataclasses.replace(state.stored, versions=(child,))
    assert judge(IMAGE, dataclasses.replace(state, stored=listed)).line("tags").state == "done"


def test_steps_are_read_as_text(tmp_path: Path) -> None:
    build = {
        "steps": [
            {"name": "x", "id": "scan", "entrypoint": "bash", "args": ["-c", "one"]},
            {"name": "y", "script": "two"},
        ]
    }
    assert checklist.steps(build) == ("scan bash -c one", "two")
    assert checklist.steps(None) == checklist.steps({"steps": None}) == ()


@pytest.fixture
def image(in_world: Target) -> Iterator[names.Image]:
    """An image in a repository of the world of this test."""
    projects.enable(in_world.location.project, "artifactregistry.googleapis.com", "iam.googleapis.com")
    place = names.Repository(in_world.location, "checklist")
    repositories.create(place, labels=in_world.labels)
    yield place.image("ml-predictor")
    repositories.delete(place)


def test_it_is_read_from_a_real_repository(image: names.Image, in_world: Target, tmp_path: Path) -> None:
    registry.push(image.tag("1.0.0"), [{"a.txt": "a"}])
    me = identity.who_am_i().member
    before = checklist.read(image, me, tmp_path / "no-build-file.yaml")
    states = {line.key: line.state for line in before.lines}
    assert states == {
        "repository": "done",
        "tags": "wrong",
        "scanning": "not yet",
        "build": "not yet",
        "gate": "not yet",
        "cleanup": "not yet",
        "push": "not yet",
        "latest": "not yet",
    }
    account = access.account(in_world.location.project, "ci", f"{in_world.run}-checklist")
    access.create_account(account, in_world.run)
    try:
        access.grant(image.repository, access.WRITER, account.member)
        registry.push(image.tag("sha-1c0ffee"), [{"a.txt": "a"}])
        retention.put(image.repository, POLICIES, dry_run=False)
        after = checklist.read(image, me)
        assert {line.key for line in after.lines if line.state == "done"} >= {"repository", "tags", "cleanup", "push"}
    finally:
        access.revoke_all(image.repository, account.member)
        access.delete_account(account)
