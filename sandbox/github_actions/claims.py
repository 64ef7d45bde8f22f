"""The claims in a token that GitHub's issuer gives to a job.

Source: https://docs.github.com/en/actions/reference/security/oidc.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

LIFETIME = 300  # seconds, as in the example of GitHub's documentation
_EARLIER = 600  # seconds from `nbf` to `iat`, as there


def subject(run: Mapping[str, Any], environment: str = "") -> str:
    """Return `sub`, which names the job's environment, or else `pull_request` or the ref."""
    if environment:
        return f"repo:{run['repository']}:environment:{environment}"
    if run["event"] == "pull_request":
        return f"repo:{run['repository']}:pull_request"
    return f"repo:{run['repository']}:ref:{run['ref']}"


def of(run: Mapping[str, Any], audience: str, environment: str, now: int) -> dict[str, Any]:
    """Return the claims of a job's token.

    Args:
        run: the run as `store` keeps it.
        audience: the requested audience, by default the owner's page.
        environment: the job's environment, or empty.
        now: seconds since 1970.
    """
    owner = run["repository"].partition("/")[0]
    workflow_ref = f"{run['repository']}/{run['path']}@{run['ref']}"
    named = {"environment": environment} if environment else {}
    return {
        "jti": str(uuid.uuid4()),
        "sub": subject(run, environment),
        "aud": audience or f"https://github.com/{owner}",
        **named,
        "ref": run["ref"],
        "sha": run["sha"],
        "repository": run["repository"],
        "repository_owner": owner,
        "repository_id": str(run["repository_id"]),
        "repository_visibility": run["visibility"],
        "run_id": str(run["id"]),
        "run_number": str(run["number"]),
        "run_attempt": "1",
        "actor": run["actor"],
        "workflow": run["name"],
        "head_ref": run["head_ref"],
        "base_ref": run["base_ref"],
        "event_name": run["event"],
        "ref_protected": "false",
        "ref_type": "tag" if run["ref"].startswith("refs/tags/") else "branch",
        "runner_environment": "github-hosted",
        "workflow_ref": workflow_ref,
        "workflow_sha": run["sha"],
        "job_workflow_ref": workflow_ref,
        "job_workflow_sha": run["sha"],
        "nbf": now - _EARLIER,
        "iat": now,
        "exp": now + LIFETIME,
    }
