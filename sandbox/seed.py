"""Write a new world's first rows: one project, one billing account, and the learner.

Only this module decides who the learner is: a service account with a key, owner of the project. On Google the learner
is a person; but a person's login needs a browser, so the sandbox uses a service account instead.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from sandbox.iam import keys, policies
from sandbox.state import projects, schema
from sandbox.state.world import World

BILLING_ACCOUNT = "billingAccounts/01SAND-B0XB0X-000001"
LEARNER = "learner"


def prepare(world: World, home: Path, project_id: str, region: str) -> dict[str, Any]:
    """Fill a world if it is empty.

    Returns:
        What `sandbox.json` contains about the world: project_id, project_number, region, learner, billing_account.
    """
    with world.reading() as rows:
        found, offset = schema.meta(rows, "about"), schema.meta(rows, "clock_offset")
    if offset:
        world.clock.advance(dt.timedelta(seconds=float(offset)))
    if found:
        about: dict[str, Any] = json.loads(found)
        return about
    with world.writing() as rows:
        projects.create(rows, world, project_id, "Artifact Registry workbook", {})
        rows.execute("UPDATE projects SET billing_account = ? WHERE id = ?", (BILLING_ACCOUNT, project_id))
        learner = projects.add_service_account(rows, world, project_id, LEARNER, "The learner")
        _write_key(rows, world, home, project_id, learner)
        number = rows.execute("SELECT number FROM projects WHERE id = ?", (project_id,)).fetchone()["number"]
        policies.grant(rows, world, f"projects/{project_id}", "roles/owner", f"serviceAccount:{learner}")
        about = {
            "project_id": project_id,
            "project_number": number,
            "region": region,
            "learner": learner,
            "billing_account": BILLING_ACCOUNT.removeprefix("billingAccounts/"),
        }
        schema.put_meta(rows, "about", json.dumps(about))
    return about


def _write_key(rows: sqlite3.Connection, world: World, home: Path, project_id: str, email: str) -> None:
    content = keys.create(rows, world, project_id, email, os.urandom(20).hex())
    handle = os.open(home / "learner-key.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(content, file, indent=2)
