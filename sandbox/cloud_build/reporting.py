"""Report the state of a trigger's build to the Git host, as a check run on the commit.

Source: https://cloud.google.com/build/docs/automating-builds/github/build-repos-from-github (viewing build results on
GitHub). The check's name is the trigger's, with the project in brackets.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from sandbox.git_host import checks

APP = "google-cloud-build"
_CONCLUSIONS = {
    "SUCCESS": "success",
    "CANCELLED": "cancelled",
    "TIMEOUT": "timed_out",
    "EXPIRED": "timed_out",
}
_RUNNING = {"PENDING": "queued", "QUEUED": "queued", "WORKING": "in_progress"}


def report(rows: sqlite3.Connection, build: Mapping[str, Any]) -> None:
    """Write the check of a trigger's build, in the caller's transaction. Ignore other builds."""
    source = build.get("sourceProvenance", {}).get("resolvedGitSource", {})
    match = re.fullmatch(r"https://github\.com/([^/]+)/([^/]+)\.git", source.get("url", ""))
    if match is None or not build.get("buildTriggerId"):
        return
    found = rows.execute(
        "SELECT id FROM git_repositories WHERE owner = ? AND name = ?", (match[1], match[2])
    ).fetchone()
    if found is None:
        return
    name = build.get("substitutions", {}).get("TRIGGER_NAME", build["buildTriggerId"])
    checks.put(rows, found["id"], source["revision"], APP, build["id"], _check(build, f"{name} ({build['projectId']})"))


def _check(build: Mapping[str, Any], name: str) -> dict[str, Any]:
    status = build["status"]
    check = {
        "name": name,
        "status": _RUNNING.get(status, "completed"),
        "conclusion": None if status in _RUNNING else _CONCLUSIONS.get(status, "failure"),
        "details_url": build["logUrl"],
        "started_at": build.get("startTime") or build["createTime"],
        "completed_at": build.get("finishTime"),
        "output": {"title": f"Summary: {status}", "summary": build.get("statusDetail", "")},
    }
    if build.get("approval", {}).get("state") == "PENDING":
        check["output"] = {"title": "Waiting for an approval", "summary": "Somebody must approve this build."}
    return check
