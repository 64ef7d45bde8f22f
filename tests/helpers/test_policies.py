"""The policy file: every field where it belongs, and what is said about one that isn't."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from helpers import policies
from helpers.policies import BadPolicies, Condition, Policy, Recent

ROOT = Path(__file__).parents[2]
GUIDES = """// cleanup-policy.json
[
 {"name": "keep-last-10", "action": {"type": "KEEP", "mostRecentVersions": {"keepCount": 10}},
  "condition": {"packageName": "ml-predictor"}},
 {"name": "delete-untagged-older-than-30d", "action": {"type": "DELETE"},
  "condition": {"packageName": "ml-predictor", "olderThan": "2592000s", "tagState": "UNTAGGED"}}
]"""


def refused(*entries: dict[str, Any]) -> BadPolicies:
    with pytest.raises(BadPolicies) as caught:
        policies.parse(json.dumps(entries))
    return caught.value


def entry(name: str = "p", kind: str = "Delete", **more: Any) -> dict[str, Any]:
    return {"name": name, "action": {"type": kind}, **(more or {"condition": {}})}


def test_every_problem_of_the_guides_file_is_named() -> None:
    with pytest.raises(BadPolicies) as caught:
        policies.parse(GUIDES)
    said = str(caught.value)
    for part in ("has comments", "mostRecentVersions stands inside action", "packageName", "packageNamePrefixes"):
        assert part in said


def test_the_guides_file_is_mended_into_one_that_is_taken() -> None:
    with pytest.raises(BadPolicies) as caught:
        policies.parse(GUIDES)
    assert policies.parse(caught.value.mended) == (
        Policy("keep-last-10", True, Recent(10, ("ml-predictor",))),
        Policy(
            "delete-untagged-older-than-30d",
            False,
            Condition(tagged=False, packages=("ml-predictor",), older=timedelta(days=30)),
        ),
    )


def test_an_object_in_place_of_the_list_is_refused_in_gclouds_words() -> None:
    with pytest.raises(BadPolicies, match="must contain a list of policies"):
        policies.parse("{}")


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(BadPolicies, match="no JSON"):
        policies.parse("[")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (entry(condition={}, mostRecentVersions={"keepCount": 1}), "either condition or mostRecentVersions"),
        ({"name": "p", "action": {"type": "Delete"}}, "either condition or mostRecentVersions"),
        (entry(mostRecentVersions={"keepCount": 1}), "with Keep only"),
        (entry(kind="Archive"), "needs"),
        (entry(name=""), "1 to 127 characters"),
        (entry(name="x" * 128), "1 to 127 characters"),
        (entry(condition={"olderThan": "a month"}), "for example 30d"),
        (entry(condition={"tagState": "none"}), "any, tagged or untagged"),
        (entry(condition={"tagPrefixes": "sha-"}), "must be a list"),
        (entry(condition={"tagPrefixes": [""]}), "aren't empty"),
        (entry(condition={"moreStaleThan": "30d"}), "no field moreStaleThan"),
        (entry(kind="Keep", mostRecentVersions={"keepCount": 0}), "1 or more"),
        (entry(kind="Keep", mostRecentVersions={}), "needs a keepCount"),
        ({**entry(), "conditions": {}}, "conditions is no field"),
    ],
)
def test_what_google_or_gcloud_would_not_take_as_meant_is_refused(wrong: dict[str, Any], said: str) -> None:
    assert said in str(refused(wrong))


def test_an_eleventh_policy_is_refused() -> None:
    assert "A repository takes 10" in str(refused(*(entry(str(number)) for number in range(11))))


def test_two_of_one_name_are_refused() -> None:
    assert "keeps only the last" in str(refused(entry("a"), entry("a")))


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2592000), ("12h", 43200), ("90m", 5400), ("1.5s", 1.5)])
def test_durations(text: str, seconds: float) -> None:
    assert policies.duration(text).total_seconds() == seconds


def test_the_projects_own_file_is_one_that_is_taken() -> None:
    found = policies.read(ROOT / "cleanup-policy.json")
    assert any(not one.keep for one in found)
    assert any(isinstance(one.rule, Recent) for one in found)
