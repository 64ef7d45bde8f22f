"""Measure the cost of a page in steps of SQLite's virtual machine, which are the same on every computer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from starlette.datastructures import QueryParams

from sandbox.api.methods import Call
from sandbox.api.principal import ANONYMOUS
from sandbox.artifact_registry.api import API
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

SIZES = (200, 5_000)
PARENT = "projects/p-one/locations/us-central1/repositories"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Create repositories with 200 and with 5,000 versions, each version with a tag."""
    opened = World(tmp_path_factory.mktemp("pages") / "state", Clock())
    with opened.writing() as rows:
        projects.create(rows, opened, "p-one", "One", {})
        for count in SIZES:
            name = f"{PARENT}/r-{count}"
            rows.execute("INSERT INTO repositories VALUES (?, 'p-one', 'us-central1', ?, '{}', 'x', 'x')", (name, name))
            rows.execute(
                "INSERT INTO packages (repository, id, create_time, update_time) VALUES (?, 'app', 'x', 'x')", (name,)
            )
            digests = [f"sha256:{hashlib.sha256(f'{count} {number}'.encode()).hexdigest()}" for number in range(count)]
            rows.executemany(
                "INSERT INTO versions (repository, package, digest, media_type, size, manifest_size, create_time,"
                " update_time) VALUES (?, 'app', ?, 'm', 1, 1, ?, 'x')",
                [(name, digest, f"2026-01-01T00:00:00.{number:06}Z") for number, digest in enumerate(digests)],
            )
            rows.executemany("INSERT INTO blobs VALUES (?, 1, 'x')", [(digest,) for digest in digests])
            rows.executemany("INSERT INTO repository_blobs VALUES (?, ?, 'x')", [(name, digest) for digest in digests])
            rows.executemany(
                "INSERT INTO tags VALUES (?, 'app', ?, ?, 'x', 'x')",
                [(name, f"v{number}", digest) for number, digest in enumerate(digests)],
            )
    yield opened
    opened.close()


def steps(world: World, path: str, query: dict[str, str]) -> tuple[int, str]:
    """Return the number of steps for a page of 100 items, and the token of the next page."""
    found = API.find("GET", f"/v1/{path}")
    assert found is not None
    method, params = found
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    call = Call(world, method, ANONYMOUS, API.service, params, QueryParams({"pageSize": "100", **query}), b"", None)
    with world.reading() as rows:
        rows.set_progress_handler(tick, 10)
        try:
            answer = method.handle(call)
        finally:
            rows.set_progress_handler(None, 0)
    assert isinstance(answer, dict)
    [items] = [value for value in answer.values() if isinstance(value, list)]
    assert len(items) == 100
    return count * 10, answer["nextPageToken"]


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("packages/app/versions", ""),
        ("packages/app/versions", "CREATE_TIME desc"),
        ("packages/app/tags", ""),
        ("dockerImages", ""),
        ("dockerImages", "UPLOAD_TIME desc"),
        ("files", ""),
    ],
)
def test_cost_of_a_page_does_not_depend_on_the_number_of_rows(world: World, path: str, order: str) -> None:
    query = {"view": "FULL", **({"orderBy": order} if order else {})}
    first, next_ = ({}, {})
    for count in SIZES:
        first[count], token = steps(world, f"{PARENT}/r-{count}/{path}", query)
        if count == SIZES[1]:
            next_[count], _ = steps(world, f"{PARENT}/r-{count}/{path}", {**query, "pageToken": token})
    assert first[SIZES[0]] > 500
    assert first[SIZES[1]] <= 1.1 * first[SIZES[0]]
    assert next_[SIZES[1]] <= 1.2 * first[SIZES[0]]
