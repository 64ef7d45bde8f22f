"""Projects, the APIs that are enabled in them, and service accounts: rows that every API needs."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.state import schema
from sandbox.state.clock import timestamp
from sandbox.state.world import World

# Enabled in every new project, https://cloud.google.com/service-usage/docs/enabled-service
DEFAULT_SERVICES = (
    "cloudapis.googleapis.com",
    "cloudtrace.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "servicemanagement.googleapis.com",
    "serviceusage.googleapis.com",
    "storage-api.googleapis.com",
    "storage-component.googleapis.com",
    "storage.googleapis.com",
)


@dataclass(frozen=True)
class Project:
    """One project.

    Attributes:
        billing_account: resource name `billingAccounts/XXXXXX-XXXXXX-XXXXXX`, or empty.
        create_time: RFC 3339.
    """

    id: str
    number: str
    name: str
    state: str
    labels: Mapping[str, str]
    billing_account: str
    create_time: str

    @classmethod
    def of(cls, row: sqlite3.Row) -> Project:
        """Return the project in a row of the table `projects`."""
        return cls(**{**dict(row), "labels": json.loads(row["labels"])})


def find(world: World, id_or_number: str) -> Project | None:
    """Return a project by its id or number, or None."""
    with world.reading() as rows:
        row = rows.execute(
            "SELECT * FROM projects WHERE (id = ? OR number = ?)", (id_or_number, id_or_number)
        ).fetchone()
    return Project.of(row) if row else None


def _stable(name: str, below: int) -> int:
    """Return a number below a limit that depends only on the name, so that recorded outputs stay the same."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16]) % below


def create(rows: sqlite3.Connection, world: World, project_id: str, name: str, labels: Mapping[str, str]) -> None:
    """Add a project, with the APIs that are enabled in every new project.

    Raises:
        sqlite3.IntegrityError: if the id is taken.
    """
    number = str(_stable(project_id, 9 * 10**11) + 10**11)
    now = timestamp(world.now())
    rows.execute(
        "INSERT INTO projects (id, number, name, labels, create_time) VALUES (?, ?, ?, ?, ?)",
        (project_id, number, name, json.dumps(dict(labels)), now),
    )
    rows.executemany(
        "INSERT INTO services (project, service, enable_time) VALUES (?, ?, ?)",
        [(project_id, service, now) for service in DEFAULT_SERVICES],
    )


def _enable_time(world: World, project_id: str, service: str) -> str | None:
    with world.reading() as rows:
        row = rows.execute(
            "SELECT enable_time FROM services WHERE project = ? AND service = ?", (project_id, service)
        ).fetchone()
    return row["enable_time"] if row else None


def is_enabled(world: World, project_id: str, service: str) -> bool:
    """Return whether an API is enabled in a project."""
    return _enable_time(world, project_id, service) is not None


def is_effective(world: World, project_id: str, service: str) -> bool:
    """Return whether an API is enabled in a project and the enablement has propagated."""
    enabled = _enable_time(world, project_id, service)
    if enabled is None or not world.pace.propagation or service in DEFAULT_SERVICES:
        return enabled is not None
    if dt.datetime.fromisoformat(enabled) + world.pace.propagation <= world.now():
        return True
    world.nudge_clock()
    return False


def add_service_account(
    rows: sqlite3.Connection, world: World, project_id: str, account_id: str, display_name: str, description: str = ""
) -> str:
    """Add a service account and return its e-mail address.

    Raises:
        sqlite3.IntegrityError: if it exists.
    """
    email = f"{account_id}@{project_id}.iam.gserviceaccount.com"
    # An account that is re-created under its old address gets another unique id.
    era = schema.meta(rows, f"era:serviceAccount:{email}")
    seed = f"{email}#{era}" if era else email
    rows.execute(
        "INSERT INTO service_accounts (email, project, unique_id, display_name, description, create_time)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (email, project_id, str(10**20 + _stable(seed, 10**20)), display_name, description, timestamp(world.now())),
    )
    return email
