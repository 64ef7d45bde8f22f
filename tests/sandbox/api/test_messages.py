"""Parse JSON by Google's message types, in all accepted spellings, and refuse invalid values."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.artifactregistry_v1 import types

from sandbox.api import messages
from sandbox.errors import ApiError

REPOSITORY = types.Repository.pb()


@pytest.mark.parametrize("written", ["DOCKER", "docker", "Docker", 1, "1"])
def test_enums_are_accepted_in_any_case_and_as_numbers(written: Any) -> None:
    assert messages.render(messages.parse(REPOSITORY, {"format": written})) == {"format": "DOCKER"}


@pytest.mark.parametrize("written", ["2592000s", "2592000.0s", "2592000.000000000s"])
def test_durations_are_accepted_in_gclouds_spellings(written: str) -> None:
    body = {"cleanupPolicies": {"old": {"action": "Delete", "condition": {"olderThan": written}}}}
    rendered = messages.render(messages.parse(REPOSITORY, body))
    assert rendered["cleanupPolicies"]["old"] == {"action": "DELETE", "condition": {"olderThan": "2592000s"}}


@pytest.mark.parametrize(
    "body", [{"dockerConfig": {"immutableTags": True}}, {"docker_config": {"immutable_tags": True}}]
)
def test_field_names_are_accepted_in_both_spellings(body: dict[str, Any]) -> None:
    assert messages.render(messages.parse(REPOSITORY, body)) == {"dockerConfig": {"immutableTags": True}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"nosuch": 1}, "Unknown name \"nosuch\" at 'repository': Cannot find field."),
        (
            {"cleanupPolicies": {"x": {"condition": {"packageName": "y"}}}},
            "Unknown name \"packageName\" at 'repository.cleanup_policies[0].value.condition': Cannot find field.",
        ),
        ({"format": "FLOPPY"}, '"FLOPPY"'),
        ({"labels": []}, "expected an object"),
        ({"dockerConfig": 5}, "Invalid JSON payload received."),
    ],
)
def test_invalid_value_is_refused_with_the_field_name(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        messages.parse(REPOSITORY, body, "repository")
    assert refused.value.http_status == 400
    assert message in refused.value.message
