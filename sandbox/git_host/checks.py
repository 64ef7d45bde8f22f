"""Check runs: the results of Cloud Build or a workflow for a commit.

Source: https://docs.github.com/en/rest/checks/runs
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from sandbox.git_host.repositories import Repository
from sandbox.state.world import World


def put(
    rows: sqlite3.Connection, repository: int, sha: str, app: str, external_id: str, body: Mapping[str, Any]
) -> None:
    """Create or replace a check run.

    Args:
        app: the app that reports it, for example `google-cloud-build`.
        external_id: the app's id of the run.
        body: `name`, `status` (queued, in_progress, completed), `conclusion` when it is completed, `details_url`,
            `started_at`, `completed_at`, `output` with `title` and `summary`.
    """
    rows.execute(
        "INSERT INTO git_check_runs (repository, sha, app, external_id, body) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (repository, sha, app, external_id) DO UPDATE SET body = excluded.body",
        (repository, sha, app, external_id, json.dumps(body)),
    )


def of(world: World, repository: Repository, sha: str) -> list[dict[str, Any]]:
    """Return a commit's check runs, oldest first."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT * FROM git_check_runs WHERE repository = ? AND sha = ? ORDER BY id", (repository.id, sha)
        ).fetchall()
    return [
        {
            "id": row["id"],
            "head_sha": row["sha"],
            "external_id": row["external_id"],
            "app": {"slug": row["app"]},
            **json.loads(row["body"]),
        }
        for row in found
    ]
