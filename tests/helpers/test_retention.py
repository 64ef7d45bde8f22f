"""The preview: that it agrees with the sandbox's own engine, what it counts, and what it warns of."""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
from typing import Any

import pytest
from google.cloud import artifactregistry_v1
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.world.starter import World
from helpers import fates, names, policies, projects, registry, repositories, retention, target
from helpers.fates import Snapshot, Stored
from sandbox.artifact_registry import cleanup_policies as engine
from tests.sandbox.artifact_registry import cleanup_strategies as random

NOW = random.NOW
EXAMPLES = int(os.environ.get("RETENTION_EXAMPLES", "500"))


def stored(name: str, *, days: float = 0, tags: tuple[str, ...] = (), image: str = "web", **more: Any) -> Stored:
    return Stored(image, name, NOW - dt.timedelta(days=days), tags, **more)


def rule(name: str, kind: str, /, **condition: Any) -> dict[str, Any]:
    return {"name": name, "action": {"type": kind}, "condition": condition}


def newest(name: str, count: int) -> dict[str, Any]:
    return {"name": name, "action": {"type": "Keep"}, "mostRecentVersions": {"keepCount": count}}


def foresee(rules: list[dict[str, Any]], *versions: Stored, **more: Any) -> retention.Preview:
    snapshot = Snapshot("us-central1-docker.pkg.dev/my-project/ml-images", NOW, versions, **more)
    return retention.preview(snapshot, policies.parse(json.dumps(rules)))


def as_file(rules: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Google's messages as gcloud's file."""
    found = []
    for name, one in rules.items():
        body = {key: dict(value) for key, value in one.items() if key in ("condition", "mostRecentVersions")}
        if body.get("condition", {}).get("tagState") == "TAG_STATE_UNSPECIFIED":
            del body["condition"]["tagState"]
        found.append({"name": name, "action": {"type": one["action"]}, **body})
    return found


@settings(max_examples=EXAMPLES, deadline=None)
@given(random.policies(), random.repositories(), st.booleans(), st.integers(1, 4))
def test_the_preview_and_the_sandbox_always_agree(
    rules: dict[str, dict[str, Any]], repository: list[dict[str, Any]], immutable: bool, limit: int
) -> None:
    """Two readings of the same rules, written apart: not one version's fate, reason or policy differs."""
    theirs = engine.decide(
        [engine.Policy.of(name, one) for name, one in rules.items()],
        [engine.Version(**{**one, "tags": tuple(one["tags"]), "parents": tuple(one["parents"])}) for one in repository],
        NOW,
        immutable_tags=immutable,
        limit=limit,
    )
    ours = fates.decide(
        policies.parse(json.dumps(as_file(rules))),
        [
            Stored(
                one["package"],
                one["name"],
                one["uploaded"],
                tuple(one["tags"]),
                parents=tuple(one["parents"]),
                attachment=one["attachment"],
            )
            for one in repository
        ],
        NOW,
        immutable_tags=immutable,
        limit=limit,
    )
    assert [(one.version.digest, one.delete, one.reason, one.policy) for one in ours] == [
        (one.version.name, one.delete, one.reason, one.policy) for one in theirs
    ]


def test_shared_layers_are_counted_once_and_only_when_nothing_needs_them() -> None:
    base = ("sha256:base", 1_000_000)
    going = [
        stored(str(place), days=40, blobs=(base, (f"sha256:{place}", 10), ("sha256:old", 500))) for place in range(2)
    ]
    staying = stored("new", tags=("1.0.0",), blobs=(base, ("sha256:new", 10)))
    found = foresee([rule("old", "Delete", olderThan="30d")], *going, staying)
    assert found.freed == 10 + 10 + 500
    assert found.summary().startswith("2 of 3 versions would be deleted. That frees 520 B, ")


def test_a_file_that_only_keeps_is_warned_of() -> None:
    assert "No policy deletes anything" in foresee([newest("ten", 10)], stored("a")).warnings[0]


def test_the_guides_mended_file_deletes_nothing_and_the_preview_says_why() -> None:
    """Errata 22: every build keeps its SHA tag, so no version ever becomes untagged."""
    mended = [newest("keep-last-10", 10), rule("delete-untagged", "Delete", tagState="untagged", olderThan="30d")]
    found = foresee(mended, *(stored(f"v{day}", days=day, tags=(f"sha-{day:07x}",)) for day in range(60)))
    assert found.deleted == ()
    assert any("all 60 have a tag" in line for line in found.warnings)
    assert any("keep-last-10 keeps nothing" in line for line in found.warnings)


def test_production_tags_that_would_go_are_named() -> None:
    found = foresee([rule("old", "Delete", olderThan="30d")], stored("a", days=31, tags=("production",)), stored("b"))
    assert any("web:production" in line for line in found.warnings)


def test_a_prefix_that_no_image_begins_with_is_warned_of() -> None:
    found = foresee([rule("old", "Delete", packageNamePrefixes=["wbe"])], stored("a"))
    assert found.warnings == ("Policy old never matches: no image's name begins with wbe.",)


def test_what_is_only_too_young_is_a_note_and_no_warning() -> None:
    found = foresee([rule("old", "Delete", olderThan="30d")], stored("a"), stored("b"))
    assert found.warnings == ()
    assert "Nothing goes today" in found.notes[0]


def test_an_image_of_which_nothing_is_left_is_warned_of() -> None:
    found = foresee([rule("all", "Delete")], stored("a"), stored("b", image="api"))
    assert "Not one version of api, web would be left." in found.warnings


def test_the_json_says_for_every_version_fate_policy_and_reason() -> None:
    found = foresee([rule("old", "Delete", olderThan="30d")], stored("a", days=31), stored("b")).json()
    assert [(one["fate"], one["policy"], one["reason"]) for one in found["versions"]] == [
        ("delete", "old", "delete policy"),
        ("keep", "", "no policy"),
    ]
    assert json.loads(json.dumps(found)) == found


def test_a_forecast_lets_children_go_a_day_after_their_index() -> None:
    snapshot = Snapshot("r", NOW, (stored("index", days=1), stored("child", days=1, parents=("index",))))
    runs = retention.forecast(snapshot, 5, policies.parse(json.dumps([rule("all", "Delete", tagState="untagged")])))
    assert [(moment - NOW).days for moment, _ in runs] == [1, 2]
    assert [run.deleted[0].digest for _, run in runs] == ["index", "child"]


# --- over the wire ----------------------------------------------------------------------------------------------------


def stock(here: target.Target, *, immutable: bool = False) -> names.Repository:
    projects.enable(here.location.project, projects.ARTIFACT_REGISTRY)
    repository = names.Repository(here.location, f"preview-{secrets.token_hex(3)}")
    repositories.create(repository, immutable_tags=immutable)
    web, api = repository.image("web"), repository.image("team/api")
    arm = registry.push(web.tag("1.0.0-arm64"), [{"base": "x"}, {"app": "arm"}], architecture="arm64")
    amd = registry.push(web.tag("1.0.0-amd64"), [{"base": "x"}, {"app": "amd"}])
    registry.push_index(web.tag("1.0.0"), {"linux/amd64": amd, "linux/arm64": arm})
    for number in range(4):
        registry.push(web.tag(f"sha-000000{number}"), [{"base": "x"}, {"app": str(number)}])
        registry.push(api.tag(f"1.{number}.0"), [{"base": "x"}, {"api": str(number)}])
    registry.push(web.tag("production"), [{"base": "x"}, {"app": "0"}])
    if not immutable:
        client = artifactregistry_v1.ArtifactRegistryClient(transport="rest")
        for tag in ("1.0.0-arm64", "1.0.0-amd64", "sha-0000001"):
            client.delete_tag(name=web.tag(tag).resource)
    return repository


@pytest.mark.parametrize("immutable", [False, True])
@pytest.mark.parametrize(
    "file",
    [
        [rule("untagged", "Delete", tagState="untagged")],
        [rule("sha", "Delete", tagState="tagged", tagPrefixes=["sha-"]), rule("prod", "Keep", tagPrefixes=["prod"])],
        [rule("all", "Delete"), newest("two", 2)],
    ],
    ids=["untagged", "sha", "two"],
)
def test_the_preview_is_what_the_sandbox_then_deletes(
    in_world: target.Target, world: World, file: list[dict[str, Any]], immutable: bool
) -> None:
    repository = stock(in_world, immutable=immutable)
    snapshot = retention.read(repository)
    assert any(one.parents for one in snapshot.versions)
    wanted = policies.parse(json.dumps(file))
    client = artifactregistry_v1.ArtifactRegistryClient(transport="rest")
    about = client.get_repository(name=repository.resource)
    for one in wanted:
        rule_of = {"keep_count": one.rule.count} if isinstance(one.rule, policies.Recent) else {}
        condition = (
            None
            if rule_of
            else {
                "tag_state": {True: "TAGGED", False: "UNTAGGED", None: "ANY"}[one.rule.tagged],
                "tag_prefixes": list(one.rule.tags),
            }
        )
        about.cleanup_policies[one.name] = {
            "id": one.name,
            "action": "KEEP" if one.keep else "DELETE",
            **({"most_recent_versions": rule_of} if rule_of else {"condition": condition}),
        }
    client.update_repository(repository=about, update_mask={"paths": ["cleanup_policies"]})
    size = client.get_repository(name=repository.resource).size_bytes
    foreseen = retention.preview(snapshot, wanted)
    world.admin("clock:advance", {"seconds": random.DAY})
    after = retention.read(repository)
    left = {(one.image, one.digest) for one in after.versions}
    assert left == {(one.image, one.digest) for one in snapshot.versions} - {
        (one.image, one.digest) for one in foreseen.deleted
    }
    # The bytes that the preview promises are the ones by which Google's own sizeBytes falls.
    assert size - client.get_repository(name=repository.resource).size_bytes == foreseen.freed
    # What is in force now is read back as what the file said.
    assert sorted(after.in_force, key=lambda one: one.name) == sorted(wanted, key=lambda one: one.name)
    repositories.delete(repository)


def test_without_layers_the_fates_are_the_same_and_shared_ones_count_for_each(in_world: target.Target) -> None:
    repository = stock(in_world)
    wanted = policies.parse(json.dumps([rule("all", "Delete"), newest("two", 2)]))
    whole, quick = (retention.preview(retention.read(repository, layers=layers), wanted) for layers in (True, False))
    assert {one.digest for one in whole.deleted} == {one.digest for one in quick.deleted}
    sizes = {one.image.value: one.size for one in repositories.images(repository)}
    assert quick.freed == sum(sizes[one.digest] or one.size for one in quick.deleted)
    assert "up to about" in quick.summary()
    repositories.delete(repository)


def test_fast_forward_moves_the_clock(in_world: target.Target, capsys: pytest.CaptureFixture[str]) -> None:
    before = retention.now()
    retention.fast_forward(days=3)
    assert dt.timedelta(days=3) <= retention.now() - before < dt.timedelta(days=3, minutes=5)
    assert "3 days later" in capsys.readouterr().out


def test_fast_forward_without_a_sandbox_changes_nothing_and_says_what_would_happen(
    in_world: target.Target, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on Google: there is no admin surface to ask. The repository is the same real one."""
    repository = stock(in_world)
    before = retention.read(repository).versions
    monkeypatch.delenv("SANDBOX_URL")
    retention.fast_forward(days=31, repository=repository)
    said = capsys.readouterr().out
    assert "Nothing was changed" in said
    assert "no cleanup policies" in said
    monkeypatch.undo()
    assert len(before) > 5
