"""Store builds in the database, each as Google's Build message in JSON, and locate their log files."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from pathlib import Path
from typing import Any

from sandbox.cloud_build import reporting
from sandbox.state.schema import next_number
from sandbox.state.world import World

RUNNING = ("PENDING", "QUEUED", "WORKING")


def new_id(rows: sqlite3.Connection, project: str) -> str:
    """Return a UUID for a project's next build. It depends only on the project's name and the build's number."""
    number = next_number(rows, f"builds of {project}")
    return str(uuid.UUID(bytes=hashlib.sha256(f"{project}/{number}".encode()).digest()[:16], version=4))


def add(rows: sqlite3.Connection, location: str, build: dict[str, Any]) -> None:
    """Insert a build, in the caller's transaction."""
    number = rows.execute("SELECT COALESCE(MAX(number), 0) + 1 AS next FROM builds").fetchone()["next"]
    rows.execute(
        "INSERT INTO builds (id, number, project, location, build) VALUES (?, ?, ?, ?, ?)",
        (build["id"], number, build["projectId"], location, json.dumps(build)),
    )
    reporting.report(rows, build)


def find(world: World, build_id: str) -> dict[str, Any] | None:
    """Return a build by its id, or None."""
    with world.reading() as rows:
        row = rows.execute("SELECT build FROM builds WHERE id = ?", (build_id,)).fetchone()
    return json.loads(row["build"]) if row else None


def of_project(world: World, project: str, location: str = "-") -> list[dict[str, Any]]:
    """Return a project's builds, newest first."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT build FROM builds WHERE project = ? AND (location = ? OR ? = '-') ORDER BY number DESC",
            (project, location, location),
        ).fetchall()
    return [json.loads(row["build"]) for row in found]


def unfinished(world: World) -> list[dict[str, Any]]:
    """Return all builds that have not ended, oldest first."""
    with world.reading() as rows:
        found = rows.execute("SELECT build FROM builds ORDER BY number").fetchall()
    builds = [json.loads(row["build"]) for row in found]
    return [build for build in builds if build["status"] in RUNNING]


def save(world: World, build: dict[str, Any]) -> None:
    """Replace a build, in a transaction that does not move the clock."""
    with world.writing(tick=False) as rows:
        put(rows, build)


def put(rows: sqlite3.Connection, build: dict[str, Any]) -> None:
    """Replace a build and its check at the Git host, in the caller's transaction."""
    rows.execute("UPDATE builds SET build = ? WHERE id = ?", (json.dumps(build), build["id"]))
    reporting.report(rows, build)


def log_file(world: World, build_id: str) -> Path:
    """Return the path of a build's log. Create its folder."""
    folder = world.folder / "build-logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{build_id}.txt"
