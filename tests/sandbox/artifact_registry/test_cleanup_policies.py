"""Decide by cleanup policies: each documented rule, Google's worked example, and an oracle on random repositories."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.artifact_registry import cleanup_policies
from sandbox.artifact_registry.cleanup_policies import Fate, Policy, Version
from tests.sandbox.artifact_registry import cleanup_strategies as random

NOW = random.NOW
# The project's figures are from a run with RETENTION_EXAMPLES=20000.
EXAMPLES = int(os.environ.get("RETENTION_EXAMPLES", "500"))


def version(name: str, *, days: float = 0, tags: tuple[str, ...] = (), package: str = "web", **more: Any) -> Version:
    return Version(package, name, NOW - dt.timedelta(days=days), tags, **more)


def delete(**condition: Any) -> dict[str, Any]:
    return {"action": "DELETE", "condition": condition}


def keep(**condition: Any) -> dict[str, Any]:
    return {"action": "KEEP", "condition": condition}


def newest(count: int, *prefixes: str) -> dict[str, Any]:
    return {"action": "KEEP", "mostRecentVersions": {"keepCount": count, "packageNamePrefixes": list(prefixes)}}


def fates(rules: dict[str, dict[str, Any]], *versions: Version, **more: Any) -> dict[str, Fate]:
    policies = [Policy.of(name, rule) for name, rule in rules.items()]
    return {fate.version.name: fate for fate in cleanup_policies.decide(policies, versions, NOW, **more)}


def deleted(rules: dict[str, dict[str, Any]], *versions: Version, **more: Any) -> set[str]:
    return {name for name, fate in fates(rules, *versions, **more).items() if fate.delete}


def test_googles_worked_example_has_the_documented_result() -> None:
    """Delete versions that are over 100 days old or have the tag `default`, but keep those named 2.0.6."""
    rules = {
        "old": delete(olderThan=f"{100 * random.DAY}s"),
        "keep-206": keep(versionNamePrefixes=["2.0.6"]),
        "tagged-default": delete(tagState="TAGGED", tagPrefixes=["default"]),
    }
    a = version("1.0.0", days=150)
    b = version("2.0.6-beta", days=150, tags=("default",))
    c = version("3.0.0", days=20, tags=("other",))
    assert deleted(rules, a, b, c) == {"1.0.0"}
    assert fates(rules, a, b, c)["2.0.6-beta"].policy == "keep-206"


def test_keep_policy_overrides_delete_policy() -> None:
    found = fates({"all": delete(), "production": keep(tagPrefixes=["production"])}, version("a", tags=("production",)))
    assert found["a"] == Fate(version("a", tags=("production",)), False, "keep policy", "production")


def test_keep_policy_alone_deletes_nothing() -> None:
    assert deleted({"newest": newest(1)}, *(version(str(day), days=day) for day in range(5))) == set()


def test_no_policies_delete_nothing() -> None:
    assert deleted({}, version("a", days=1000)) == set()


def test_empty_condition_matches_everything() -> None:
    assert deleted({"all": delete()}, version("a"), version("b", tags=("x",), days=9)) == {"a", "b"}


def test_all_conditions_must_match() -> None:
    rules = {"both": delete(tagState="UNTAGGED", olderThan=f"{30 * random.DAY}s")}
    both, old, untagged = version("both", days=31), version("old", days=31, tags=("t",)), version("untagged", days=29)
    assert deleted(rules, both, old, untagged) == {"both"}


@pytest.mark.parametrize("field", ["tagPrefixes", "versionNamePrefixes", "packageNamePrefixes"])
def test_list_matches_any_of_its_prefixes(field: str) -> None:
    rules = {"any": delete(**{field: ["a-", "b-"]})}
    names = {"a-1": "deleted", "b-1": "deleted", "c-a-1": "stays"}
    versions = [version(name, package=name, tags=(name,)) for name in names]
    assert deleted(rules, *versions) == {name for name, fate in names.items() if fate == "deleted"}


@pytest.mark.parametrize(
    ("state", "gone"),
    [
        ("TAGGED", {"tagged"}),
        ("UNTAGGED", {"untagged"}),
        ("ANY", {"tagged", "untagged"}),
        (None, {"tagged", "untagged"}),
    ],
)
def test_tag_state_defaults_to_any(state: str | None, gone: set[str]) -> None:
    rules = {"state": delete(**({"tagState": state} if state else {}))}
    assert deleted(rules, version("tagged", tags=("t",)), version("untagged")) == gone


def test_tag_prefix_matches_one_of_several_tags() -> None:
    assert deleted({"sha": delete(tagPrefixes=["sha-"])}, version("a", tags=("1.2.0", "sha-abc1234"))) == {"a"}


def test_older_than_excludes_the_exact_age() -> None:
    rules = {"old": delete(olderThan=f"{30 * random.DAY}s")}
    assert deleted(rules, version("over", days=30.001), version("exactly", days=30), version("under", days=29.9)) == {
        "over"
    }


def test_newer_than_excludes_the_exact_age() -> None:
    rules = {"new": delete(newerThan=f"{30 * random.DAY}s")}
    assert deleted(rules, version("over", days=30.001), version("exactly", days=30), version("under", days=29.9)) == {
        "under"
    }


def test_duration_can_have_a_fraction() -> None:
    assert deleted({"old": delete(olderThan="2592000.0s")}, version("a", days=31), version("b", days=29)) == {"a"}


def test_most_recent_count_applies_per_package() -> None:
    rules = {"all": delete(), "newest": newest(2)}
    versions = [version(f"{package}{day}", days=day, package=package) for package in ("web", "api") for day in range(4)]
    assert deleted(rules, *versions) == {"web2", "web3", "api2", "api3"}


def test_most_recent_versions_are_the_newest_uploads() -> None:
    rules = {"all": delete(), "newest": newest(1)}
    assert deleted(rules, version("a", days=5), version("z", days=9), version("m", days=1)) == {"a", "z"}


def test_most_recent_package_prefix_matches_every_such_package() -> None:
    """In the documentation's example, `release-xyz` keeps both release-xyz-v1 and release-xyz-v2."""
    rules = {"all": delete(), "newest": newest(1, "release-xyz")}
    versions = [version(package, package=package) for package in ("release-xyz-v1", "release-xyz-v2", "release-x")]
    assert deleted(rules, *versions) == {"release-x"}


def test_fewer_versions_than_the_count_are_all_kept() -> None:
    assert deleted({"all": delete(), "newest": newest(10)}, version("a", days=400), version("b")) == set()


def test_immutable_tags_keep_their_versions() -> None:
    found = fates({"all": delete()}, version("tagged", tags=("1.0.0",)), version("untagged"), immutable_tags=True)
    assert found["tagged"].reason == "immutable tag"
    assert found["untagged"].delete


def test_children_are_kept_until_the_run_after_their_index() -> None:
    rules = {"untagged": delete(tagState="UNTAGGED")}
    index, child = version("index"), version("child", parents=("index",))
    first = fates(rules, index, child)
    assert (first["index"].delete, first["child"].reason) == (True, "parent index")
    assert deleted(rules, version("child")) == {"child"}


def test_untagged_index_keeps_its_children() -> None:
    rules = {"children": delete(versionNamePrefixes=["child"])}
    assert deleted(rules, version("index"), version("child", parents=("index",))) == set()


def test_attachments_are_not_subject_to_policies() -> None:
    found = fates({"all": delete()}, version("signature", days=900, attachment=True))
    assert found["signature"].reason == "attachment"


def test_attachments_are_not_among_the_most_recent() -> None:
    rules = {"all": delete(), "newest": newest(1)}
    assert deleted(rules, version("image", days=2), version("signature", days=1, attachment=True)) == set()


def test_run_deletes_at_most_the_daily_limit() -> None:
    versions = [version(str(day), days=day) for day in range(5)]
    first = fates({"all": delete()}, *versions, limit=2)
    assert {name for name, fate in first.items() if fate.delete} == {"4", "3"}
    assert first["0"].reason == "daily limit"
    assert cleanup_policies.DAILY_DELETIONS == 300_000


def test_version_without_tags_is_untagged() -> None:
    """Versions in a format without tags are untagged."""
    assert deleted({"untagged": delete(tagState="UNTAGGED")}, version("file-1.0.whl")) == {"file-1.0.whl"}


def test_fate_names_the_deciding_policy() -> None:
    found = fates({"b-old": delete(olderThan="1s"), "a-all": delete()}, version("x", days=1), version("y"))
    assert [found["x"].policy, found["y"].policy] == ["a-all", "a-all"]
    assert fates({"k": keep(tagPrefixes=["p"])}, version("x"))["x"] == Fate(version("x"), False, "no policy")


@settings(max_examples=EXAMPLES, deadline=None)
@given(random.policies(), random.repositories(), st.booleans())
def test_decision_equals_the_oracle(
    rules: dict[str, dict[str, Any]], repository: list[dict[str, Any]], immutable: bool
) -> None:
    versions = [Version(**{**one, "tags": tuple(one["tags"]), "parents": tuple(one["parents"])}) for one in repository]
    assert deleted(rules, *versions, immutable_tags=immutable) == random.oracle(rules, repository, NOW, immutable)
