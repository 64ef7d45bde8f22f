"""Page, sort and filter lists while images are pushed, and refuse invalid parameters and unknown fields."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sandbox.artifact_registry.filled_repositories import API, Held
from tests.sandbox.in_process import Learner


@pytest.fixture
def held(learner: Learner) -> Held:
    """Create a repository in this process."""
    learner.enable("artifactregistry.googleapis.com")
    name = f"r-{secrets.token_hex(4)}"
    parent = f"projects/{learner.project}/locations/us-central1"
    learner.ask("POST", f"{API}/{parent}/repositories?repositoryId={name}", {"format": "DOCKER"})
    return Held(f"{parent}/repositories/{name}", learner.session)


def pages(held: Held, path: str, key: str, **query: Any) -> Iterator[list[Any]]:
    """Yield the items of each page; the test may push images between two pages."""
    token = ""
    while True:
        answer = held.get(path, **query, **({"pageToken": token} if token else {}))
        assert answer.status_code == 200, answer.text
        yield answer.json().get(key, [])
        token = answer.json().get("nextPageToken", "")
        if not token:
            return


LISTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "packages": ("packages", ("", "name desc", "create_time", "UPDATE_TIME desc")),
    "packages/app/versions": ("versions", ("", "name desc", "CREATE_TIME desc", "updateTime")),
    "packages/app/tags": ("tags", ("",)),
    "dockerImages": ("dockerImages", ("", "name desc", "UPLOAD_TIME desc", "update_time", "image_size_bytes desc")),
    "files": ("files", ("", "name desc", "create_time", "size_bytes desc")),
}


@pytest.mark.parametrize("path", LISTS)
def test_pages_contain_each_item_once_during_pushes(held: Held, path: str) -> None:
    for number in range(7):
        held.push("app", f"v{number}", layer=bytes(number))
        held.push(f"other-{number}", layer=bytes(number))
    key, orders = LISTS[path]
    for order in orders:
        query = {"pageSize": 3, **({"orderBy": order} if order else {})}
        [whole] = pages(held, path, key, **{**query, "pageSize": 1000})
        seen: list[str] = []
        for page in pages(held, path, key, **query):
            assert 0 < len(page) <= 3
            seen += [one["name"] for one in page]
            if len(seen) <= 6:
                held.push("app", f"late-{len(seen)}")
        before = [one["name"] for one in whole]
        if "update" not in order.lower():  # a push moves its package in the order by update time
            assert [name for name in seen if name in before] == before
        assert len(seen) == len(set(seen))
        assert set(before) <= set(seen) or "update" in order.lower()


@pytest.mark.parametrize("path", LISTS)
def test_list_refuses_invalid_parameters(held: Held, path: str) -> None:
    held.push("app", "v1")
    held.push("app", "v2")
    held.push("second")
    key, orders = LISTS[path]
    bad: list[dict[str, Any]] = [
        {"pageSize": -1},
        {"pageSize": "many"},
        {"pageToken": "bm90IG91cnM="},
        {"pageToken": "%%%"},
        {"orderBy": "nothing"},
        {"orderBy": "name sideways"},
        {"orderBy": "name, create_time"},
        {"filter": "nothing=1"},
        {"filter": 'name="'},
    ]
    token = held.get(path, pageSize=1).json()["nextPageToken"]
    # A token belongs to its list.
    bad += [{"pageToken": token, "orderBy": order} for order in orders[1:2]]
    if path != "dockerImages":
        bad.append({"pageToken": token, "filter": "name=x"})
    for query in bad:
        answer = held.get(path, **query)
        assert answer.status_code == 400, f"{query}: {answer.text}"
        assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert held.get(path, pageSize=100000).json()[key]


UNKNOWN: dict[str, Callable[[Held, str], tuple[str, str, dict[str, Any]]]] = {
    "repository": lambda held, _: ("PATCH", "", {"description": "x"}),
    "package": lambda held, _: ("PATCH", "/packages/app", {"annotations": {}}),
    "version": lambda held, digest: ("PATCH", f"/packages/app/versions/{digest}", {"annotations": {}}),
    "tag": lambda held, digest: ("PATCH", "/packages/app/tags/v1", {"version": held.version("app", digest)}),
    "batch": lambda held, digest: (
        "POST",
        "/packages/app/versions:batchDelete",
        {"names": [held.version("app", digest)], "validateOnly": True},
    ),
}


@pytest.mark.parametrize("noun", UNKNOWN)
def test_unknown_field_is_refused_by_name(held: Held, noun: str) -> None:
    verb, path, body = UNKNOWN[noun](held, held.push("app", "v1"))
    url = f"{API}/{held.name}{path}"
    assert held.session.request(verb, url, json=body).status_code == 200
    answer = held.session.request(verb, url, json={**body, "colour": "red"})
    assert answer.status_code == 400
    assert 'Unknown name "colour"' in answer.json()["error"]["message"]
