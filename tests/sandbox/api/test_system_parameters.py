"""Apply the query parameters of all APIs to responses, and refuse invalid ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.cloud.artifactregistry_v1 import types
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from sandbox.api import system_parameters
from sandbox.doors import grpc_schema
from sandbox.errors import ApiError

ANSWER = {
    "repositories": [
        {"name": "a", "format": "DOCKER", "labels": {"x": "1"}},
        {"name": "b", "mode": "STANDARD_REPOSITORY"},
    ],
    "nextPageToken": "t",
}


def written(answer: Any = ANSWER, kind: Any = None, enums: Any = None, **query: str) -> bytes:
    return system_parameters.read(QueryParams(query)).write(answer, kind, enums or {})


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ("nextPageToken", {"nextPageToken": "t"}),
        ("repositories/name", {"repositories": [{"name": "a"}, {"name": "b"}]}),
        ("repositories(name,mode)", {"repositories": [{"name": "a"}, {"name": "b", "mode": "STANDARD_REPOSITORY"}]}),
        ("repositories/labels/x,nextPageToken", {"repositories": [{"labels": {"x": "1"}}, {}], "nextPageToken": "t"}),
        ("repositories(labels(x)),colour", {"repositories": [{"labels": {"x": "1"}}, {}]}),
        ("*", ANSWER),
        ("*/name", {"repositories": [{"name": "a"}, {"name": "b"}], "nextPageToken": "t"}),
    ],
    ids=["one", "path", "list", "deep", "nested", "all", "any"],
)
def test_fields_select_parts_of_the_response(fields: str, left: dict[str, Any]) -> None:
    assert json.loads(written(fields=fields)) == left
    assert json.loads(written(**{"$fields": fields})) == left


@pytest.mark.parametrize("fields", [",", "a(", "a)", "(a)", "a//b", "a(b", "a,,b", "a(" * 50 + ")" * 50])
def test_invalid_selection_is_refused(fields: str) -> None:
    with pytest.raises(ApiError, match="Invalid field selection"):
        written(fields=fields)


@given(st.text("ab*,/() ", max_size=60))
def test_any_selection_is_parsed_or_refused(fields: str) -> None:
    try:
        left = json.loads(written({"a": {"b": [{"a": 1}]}, "b": 2}, fields=fields))
    except ApiError as error:
        assert error.status == "INVALID_ARGUMENT"  # noqa: PT017 - any text may be refused, in this one way
    else:
        assert left.keys() <= {"a", "b"}


def test_response_is_pretty_by_default() -> None:
    assert written({"a": {"b": []}}) == b'{\n  "a": {\n    "b": []\n  }\n}\n'
    for name in ("prettyPrint", "$prettyPrint"):
        assert written({"a": {"b": []}}, **{name: "false"}) == b'{"a":{"b":[]}}'


def test_enums_are_numbers_on_request() -> None:
    query = {"$alt": "json;enum-encoding=int"}
    kind = types.ListRepositoriesResponse.pb().DESCRIPTOR
    first, second = json.loads(written(kind=kind, **query))["repositories"]
    assert first == {"name": "a", "format": 1, "labels": {"x": "1"}}
    assert second["mode"] == 1
    versions = {"versions": [{"state": "DESTROYED", "name": "ENABLED"}]}
    response = json.loads(written(versions, enums={"state": {"DESTROYED": 3}}, **query))
    assert response == {"versions": [{"state": 3, "name": "ENABLED"}]}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"alt": "xml"}, "INVALID_ARGUMENT"),
        ({"$alt": "json;enum-encoding=text"}, "INVALID_ARGUMENT"),
        ({"alt": "proto"}, "UNIMPLEMENTED"),
        ({"callback": "f"}, "UNIMPLEMENTED"),
    ],
    ids=["alt", "encoding", "proto", "callback"],
)
def test_other_formats_are_refused(query: dict[str, str], status: str) -> None:
    with pytest.raises(ApiError) as refused:
        system_parameters.read(QueryParams(query))
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("host", "verb", "path", "name"),
    [
        ("artifactregistry.googleapis.com", "GET", "/v1/projects/p/locations/l/repositories/r", "Repository"),
        (
            "artifactregistry.googleapis.com",
            "GET",
            "/v1/projects/p/locations/l/repositories",
            "ListRepositoriesResponse",
        ),
        ("artifactregistry.googleapis.com", "GET", "/v1/projects/p/locations/l/repositories/r:getIamPolicy", "Policy"),
        ("cloudresourcemanager.googleapis.com", "GET", "/v3/projects/p", "Project"),
        ("secretmanager.googleapis.com", "GET", "/v1/projects/p/secrets", ""),
    ],
    ids=["one", "list", "verb", "project", "none"],
)
def test_message_type_of_a_call_is_found(host: str, verb: str, path: str, name: str) -> None:
    found = grpc_schema.answer(host, verb, path)
    assert (found.name if found else "") == name
