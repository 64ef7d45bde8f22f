"""Long-running operations: google.longrunning.Operation as JSON.

The work is finished before the first response, which, as on Google, doesn't have the result yet. The first poll reports
that the operation is done; in a slow sandbox (`sandbox.state.pace`) the third does.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from sandbox.errors import not_found
from sandbox.state.clock import timestamp
from sandbox.state.world import World

# Fields that are stored and not sent: the number of polls until the operation is reported done, its metadata till then.
_POLLS, _BEGUN = "pollsLeft", "begun"


def finish(
    rows: sqlite3.Connection,
    world: World,
    name: str,
    response: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None = None,
    *,
    error: Mapping[str, Any] | None = None,
    begun: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Store a finished operation, and return it as a running one.

    Args:
        name: the operation's resource name, unique in the world.
        response: the result, with its `@type`; None if the operation failed.
        metadata: likewise.
        error: a google.rpc.Status, if the operation failed.
        begun: the metadata until it is reported done, if it differs; may be empty.
    """
    operation: dict[str, Any] = {"name": name, "done": True}
    operation |= {"response": dict(response)} if response is not None else {"error": dict(error or {})}
    if metadata:
        operation["metadata"] = dict(metadata)
    if world.pace.polls:
        operation |= {_POLLS: world.pace.polls, _BEGUN: dict((metadata or {}) if begun is None else begun)}
    rows.execute(
        "INSERT INTO operations (name, operation, create_time) VALUES (?, ?, ?)",
        (name, json.dumps(operation), timestamp(world.now())),
    )
    return _as_json(operation)


def get(world: World, name: str) -> dict[str, Any]:
    """Return an operation; each poll brings a running one closer to done.

    Raises:
        ApiError: NOT_FOUND.
    """
    with world.reading() as rows:
        row = rows.execute("SELECT operation FROM operations WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise not_found()
    return _polled(world, json.loads(row["operation"]))


def _polled(world: World, operation: dict[str, Any]) -> dict[str, Any]:
    if operation.get(_POLLS):
        operation[_POLLS] -= 1
        with world.writing(tick=False) as rows:
            stored = (json.dumps(operation), operation["name"])
            rows.execute("UPDATE operations SET operation = ? WHERE name = ?", stored)
        world.nudge_clock()
    return _as_json(operation)


def _as_json(operation: dict[str, Any]) -> dict[str, Any]:
    if not operation.get(_POLLS):
        return {key: value for key, value in operation.items() if key not in (_POLLS, _BEGUN)}
    begun = operation[_BEGUN]
    return {"name": operation["name"]} | ({"metadata": begun} if begun else {})


def under(world: World, prefix: str) -> list[dict[str, Any]]:
    """Return the operations whose names start with a prefix, oldest first. This counts as a poll of each."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT operation FROM operations WHERE substr(name, 1, ?) = ? ORDER BY create_time, name",
            (len(prefix), prefix),
        ).fetchall()
    return [_polled(world, json.loads(row["operation"])) for row in found]
