"""Store and read log entries in the form of Cloud Logging."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from sandbox.state.clock import timestamp
from sandbox.state.world import World


def write(rows: sqlite3.Connection, world: World, project: str, log: str, body: Mapping[str, Any]) -> None:
    """Add an entry with the sandbox's time.

    Args:
        log: the log's id, escaped as in its name: `cloudaudit.googleapis.com%2Fdata_access`.
        body: the other fields of the LogEntry.
    """
    now = timestamp(world.now())
    entry = {**body, "logName": f"projects/{project}/logs/{log}", "timestamp": now, "receiveTimestamp": now}
    number = rows.execute("INSERT INTO log_entries (project, time, entry) VALUES (?, ?, '')", (project, now)).lastrowid
    entry["insertId"] = f"{number:016x}"
    rows.execute("UPDATE log_entries SET entry = ? WHERE number = ?", (json.dumps(entry), number))


def of_project(rows: sqlite3.Connection, project: str) -> list[dict[str, Any]]:
    """Return a project's entries, oldest first."""
    found = rows.execute("SELECT entry FROM log_entries WHERE project = ? ORDER BY number", (project,))
    return [json.loads(row["entry"]) for row in found]
