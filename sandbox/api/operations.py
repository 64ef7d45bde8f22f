"""Long-running operations: google.longrunning.Operation as JSON.

The sandbox's operations are done when they are answered: gcloud and the clients then do not poll, which saves seconds.
In a slow sandbox (`sandbox.state.pace`) the work is done as well, and the operation says so at its third poll.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from sandbox.errors import not_found
from sandbox.state.clock import timestamp
from sandbox.state.world import World

# How many polls are left until the operation is reported as done; never part of an answer.
_POLLS = "pollsLeft"


def finish(
    rows: sqlite3.Connection,
    world: World,
    name: str,
    response: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None = None,
    *,
    error: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Store a finished operation and return it, in a slow sandbox as a running one.

    Args:
        name: the operation's resource name, unique in the world.
        response: the result, with its `@type`; None for an operation that failed.
        metadata: likewise.
        error: why it failed, a google.rpc.Status.
    """
    operation: dict[str, Any] = {"name": name, "done": True}
    operation |= {"response": dict(response)} if response is not None else {"error": dict(error or {})}
    if metadata:
        operation["metadata"] = dict(metadata)
    if world.pace.polls:
        operation[_POLLS] = world.pace.polls
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
    operation: dict[str, Any] = json.loads(row["operation"])
    if operation.get(_POLLS):
        operation[_POLLS] -= 1
        with world.writing(tick=False) as rows:
            rows.execute("UPDATE operations SET operation = ? WHERE name = ?", (json.dumps(operation), name))
        world.nudge_clock()
    return _as_json(operation)


def _as_json(operation: dict[str, Any]) -> dict[str, Any]:
    hidden = {_POLLS, "done", "response", "error"} if operation.get(_POLLS) else {_POLLS}
    return {key: value for key, value in operation.items() if key not in hidden}


def under(world: World, prefix: str) -> list[dict[str, Any]]:
    """Return the operations whose names start with a prefix, the oldest first."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT operation FROM operations WHERE substr(name, 1, ?) = ? ORDER BY create_time, name",
            (len(prefix), prefix),
        ).fetchall()
    return [_as_json(json.loads(row["operation"])) for row in found]
