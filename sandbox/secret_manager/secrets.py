"""The rows of secrets and their versions. The values are stored in the world's folder unencrypted.

Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Version:
    """One version.

    Attributes:
        secret: `projects/P/secrets/S`, with the project's id.
        state: ENABLED, DISABLED or DESTROYED; a destroyed version has no value.
    """

    secret: str
    number: int
    create_time: str
    state: str
    value: bytes


def resource(project: str, secret: str) -> str:
    """Return the resource name `projects/P/secrets/S`, also for policies."""
    return f"projects/{project}/secrets/{secret}"


def find(rows: sqlite3.Connection, name: str) -> Json | None:
    """Return a secret by its resource name as Google's JSON, or None."""
    row = rows.execute("SELECT body FROM secrets WHERE name = ?", (name,)).fetchone()
    return json.loads(row["body"]) if row else None


def of_project(rows: sqlite3.Connection, project: str) -> list[Json]:
    """Return a project's secrets, sorted by name."""
    found = rows.execute("SELECT body FROM secrets WHERE project = ? ORDER BY name", (project,)).fetchall()
    return [json.loads(row["body"]) for row in found]


def add(rows: sqlite3.Connection, name: str, body: Json) -> None:
    """Add a secret.

    Raises:
        sqlite3.IntegrityError: if it exists.
    """
    rows.execute(
        "INSERT INTO secrets (name, project, body) VALUES (?, ?, ?)", (name, name.split("/")[1], json.dumps(body))
    )


def change(rows: sqlite3.Connection, name: str, body: Json) -> None:
    """Replace a secret."""
    rows.execute("UPDATE secrets SET body = ? WHERE name = ?", (json.dumps(body), name))


def remove(rows: sqlite3.Connection, name: str) -> None:
    """Delete a secret and its versions."""
    rows.execute("DELETE FROM secrets WHERE name = ?", (name,))


def add_version(rows: sqlite3.Connection, name: str, create_time: str, value: bytes) -> Version:
    """Add a version to an existing secret. Version numbers start at 1."""
    row = rows.execute(
        "SELECT COALESCE(MAX(number), 0) + 1 AS next FROM secret_versions WHERE secret = ?", (name,)
    ).fetchone()
    version = Version(name, int(row["next"]), create_time, "ENABLED", value)
    rows.execute(
        "INSERT INTO secret_versions (secret, number, create_time, state, value) VALUES (?, ?, ?, ?, ?)",
        (name, version.number, create_time, version.state, value),
    )
    return version


def versions(rows: sqlite3.Connection, name: str) -> list[Version]:
    """Return a secret's versions, newest first."""
    found = rows.execute(
        "SELECT secret, number, create_time, state, value FROM secret_versions WHERE secret = ? ORDER BY number DESC",
        (name,),
    ).fetchall()
    return [Version(*row) for row in found]


def find_version(rows: sqlite3.Connection, name: str, version: str) -> Version | None:
    """Return a version by its number, or by `latest` the newest in any state, or None."""
    found = versions(rows, name)
    return next((one for one in found if version in ("latest", str(one.number))), None)


def set_state(rows: sqlite3.Connection, version: Version, state: str) -> None:
    """Change a version's state; DESTROYED also deletes its value."""
    rows.execute(
        "UPDATE secret_versions SET state = ?, value = CASE WHEN ? = 'DESTROYED' THEN x'' ELSE value END"
        " WHERE secret = ? AND number = ?",
        (state, state, version.secret, version.number),
    )
