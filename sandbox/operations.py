"""Long-running operations: google.longrunning.Operation as JSON.

The sandbox's operations are done when they are answered: gcloud and the clients then do not poll, which saves seconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from sandbox.clock import timestamp
from sandbox.errors import not_found
from sandbox.world import World


def finish(
    rows: sqlite3.Connection,
    world: World,
    name: str,
    response: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Keep an operation that is done, and return it.

    Args:
        name: the operation's resource name, unique in the world.
        response: the result, with its `@type`.
        metadata: likewise.
    """
    operation: dict[str, Any] = {"name": name, "done": True, "response": dict(response)}
    if metadata:
        operation["metadata"] = dict(metadata)
    rows.execute(
        "INSERT INTO operations (name, operation, create_time) VALUES (?, ?, ?)",
        (name, json.dumps(operation), timestamp(world.now())),
    )
    return operation


def get(world: World, name: str) -> dict[str, Any]:
    """An operation by name.

    Raises:
        ApiError: NOT_FOUND.
    """
    with world.reading() as rows:
        row = rows.execute("SELECT operation FROM operations WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise not_found()
    operation: dict[str, Any] = json.loads(row["operation"])
    return operation
