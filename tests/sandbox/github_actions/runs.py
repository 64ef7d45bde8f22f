"""What the tests of workflows share: a workflow's text, a run that has ended, and its log."""

from __future__ import annotations

from typing import Any

import requests

from tests.conditions import until
from tests.sandbox.git_hosting import Host

PATH = ".github/workflows/ship.yml"


def workflow(*steps: str, may: str = "permissions:\n  id-token: write\n", on: str = "push") -> str:
    return f"name: Ship\non: {on}\n{may}jobs:\n  ship:\n    runs-on: ubuntu-latest\n    steps:\n" + "".join(
        f"      - {step}\n" for step in steps
    )


def run_of(host: Host, repository: str, sha: str, login: str = "example.com") -> dict[str, Any]:
    """The only run of a commit, when it has ended."""

    def completed() -> list[dict[str, Any]]:
        found = host.api("GET", f"/repos/{repository}/actions/runs?head_sha={sha}", login=login)["workflow_runs"]
        return found if found and found[0]["status"] == "completed" else []

    (only,) = until(completed, 90)
    return only


def log_of(host: Host, run: dict[str, Any], login: str = "example.com") -> str:
    base = f"/repos/{run['repository']['full_name']}/actions"
    jobs = host.api("GET", f"{base}/runs/{run['id']}/jobs", login=login)["jobs"]
    with requests.Session() as session:
        session.trust_env = False
        return "".join(
            session.get(
                f"{host.world.url}/api.github.com{base}/jobs/{job['id']}/logs",
                headers={"Authorization": f"Bearer {host.token(login)}"},
                timeout=30,
            ).text
            for job in jobs
        )
