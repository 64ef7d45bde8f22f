"""Store the runs of workflows, and render them as GitHub's REST API does.

Source: https://docs.github.com/en/rest/actions/workflow-runs and …/workflow-jobs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.github_actions.workflow import MOST_JOBS
from sandbox.state.clock import timestamp
from sandbox.state.schema import next_number
from sandbox.state.world import World

Json = dict[str, Any]


def now(world: World) -> str:
    """Return the time in GitHub's format."""
    return timestamp(world.now())[:19] + "Z"


def add(rows: sqlite3.Connection, world: World, cause: str, body: Mapping[str, Any]) -> Json | None:
    """Store a new run, or return None if the workflow has run for this cause before."""
    key = f"{cause} {body['path']}"
    if rows.execute("SELECT 1 FROM workflow_runs WHERE cause = ?", (key,)).fetchone():
        return None
    run: Json = {
        **body,
        "id": next_number(rows, "workflow runs") + 1,
        "number": next_number(rows, f"workflow runs of {body['repository_id']} {body['path']}") + 1,
        "created_at": now(world),
        "updated_at": now(world),
    }
    for place, job in enumerate(run["jobs"]):
        job["id"] = run["id"] * MOST_JOBS + place
    rows.execute(
        "INSERT INTO workflow_runs (id, repository, cause, body) VALUES (?, ?, ?, ?)",
        (run["id"], run["repository_id"], key, json.dumps(run)),
    )
    return run


def save(rows: sqlite3.Connection, world: World, run: Json) -> None:
    """Replace a run, in the caller's transaction."""
    run["updated_at"] = now(world)
    rows.execute("UPDATE workflow_runs SET body = ? WHERE id = ?", (json.dumps(run), run["id"]))


def find(world: World, repository: int, number: int) -> Json | None:
    """Return a repository's run by its number, or None."""
    with world.reading() as rows:
        row = rows.execute(
            "SELECT body FROM workflow_runs WHERE repository = ? AND id = ?", (repository, number)
        ).fetchone()
    return json.loads(row["body"]) if row else None


def of(world: World, repository: int) -> list[Json]:
    """Return a repository's runs, newest first."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT body FROM workflow_runs WHERE repository = ? ORDER BY id DESC", (repository,)
        ).fetchall()
    return [json.loads(row["body"]) for row in found]


def unfinished(world: World) -> list[Json]:
    """Return all runs that have not ended, oldest first."""
    with world.reading() as rows:
        found = rows.execute("SELECT body FROM workflow_runs ORDER BY id").fetchall()
    return [run for row in found if (run := json.loads(row["body"]))["status"] != "completed"]


def variables(world: World, repository: int) -> dict[str, str]:
    """Return a repository's variables, which its workflows read as `vars`."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT name, value FROM workflow_variables WHERE repository = ? ORDER BY name", (repository,)
        ).fetchall()
    return {row["name"]: row["value"] for row in found}


def run_of(job: int) -> int:
    """Return the number of a job's run, which is part of the job's number."""
    return job // MOST_JOBS


def log_file(world: World, job: int) -> Path:
    """Return the path of a job's log. Create its folder."""
    folder = world.folder / "actions"
    folder.mkdir(exist_ok=True)
    return folder / f"{job}.log"


def shown(run: Mapping[str, Any]) -> Json:
    """Return a run as the REST API shows it."""
    url = f"https://github.com/{run['repository']}/actions/runs/{run['id']}"
    return {
        "id": run["id"],
        "name": run["name"],
        "path": run["path"],
        "display_title": run["title"],
        "run_number": run["number"],
        "run_attempt": 1,
        "event": run["event"],
        "status": run["status"],
        "conclusion": run["conclusion"],
        "head_branch": run["head_branch"],
        "head_sha": run["sha"],
        "html_url": url,
        "actor": {"login": run["actor"]},
        "repository": {"full_name": run["repository"]},
        "head_repository": {"full_name": run["head_repository"]},
        "created_at": run["created_at"],
        "run_started_at": run["created_at"],
        "updated_at": run["updated_at"],
    }


def shown_job(run: Mapping[str, Any], job: Mapping[str, Any]) -> Json:
    """Return a job as the REST API shows it."""
    url = f"https://github.com/{run['repository']}/actions/runs/{run['id']}/job/{job['id']}"
    kept = ("id", "name", "status", "conclusion", "started_at", "completed_at", "steps")
    return {**{key: job[key] for key in kept}, "run_id": run["id"], "head_sha": run["sha"], "html_url": url}
