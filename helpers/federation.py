"""Workload identity federation: whom outside Google a project trusts, without any key. REST, default credentials.

A pool holds identities of others, a provider says whose tokens they come with, and a policy names them as members.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from google.api_core import exceptions

from helpers import names, waiting
from helpers.target import LABEL
from helpers.transport import rest

USER: Final = "roles/iam.workloadIdentityUser"
_IAM: Final = "https://iam.googleapis.com/v1"
_GITHUB: Final = "https://token.actions.githubusercontent.com"
_MAPPING: Final = {"google.subject": "assertion.sub", "attribute.repository": "assertion.repository"}


def pool_id(run: str) -> str:
    """Return the id of a run's pool: `wb-github-` and six hexadecimal digits, as the run's accounts have them."""
    return f"wb-github-{hashlib.sha256(run.encode()).hexdigest()[:6]}"


def create_pool(project: names.Project, pool: str, run: str) -> str:
    """Return the pool's resource name, with the project's number in it.

    It is made, or brought back, unless it is there.

    Raises google.api_core.exceptions.GoogleAPICallError, TimeoutError.
    """
    about = {"displayName": "GitHub", "description": f"{LABEL}={run}"}
    return _ensure(f"{_pools(project)}/{pool}", {"workloadIdentityPoolId": pool}, about)


def trust_github(project: names.Project, pool: str, provider: str, repository: str) -> str:
    """Return the resource name of a provider that lets one repository on GitHub in, `OWNER/NAME`, and nobody else.

    Raises google.api_core.exceptions.GoogleAPICallError, TimeoutError.
    """
    body = {
        "attributeMapping": _MAPPING,
        "attributeCondition": f"assertion.repository=='{repository}'",
        "oidc": {"issuerUri": _GITHUB},
    }
    url = f"{_pools(project)}/{pool}/providers/{provider}"
    return _ensure(url, {"workloadIdentityPoolProviderId": provider}, body)


def repository_member(pool: str, repository: str) -> str:
    """How a policy names the workflows of a repository; `pool` is the resource name."""
    return f"principalSet://iam.googleapis.com/{pool}/attribute.repository/{repository}"


def delete_pool(project: names.Project, pool: str) -> None:
    """Delete the pool with its providers; gone already is no error. Its id stays taken for 30 days."""
    found = _get(f"{_pools(project)}/{pool}")
    if found and found["state"] == "ACTIVE":
        rest.call("DELETE", f"{_pools(project)}/{pool}")


def pool_state(project: names.Project, pool: str) -> str:
    """`ACTIVE`, `DELETED`, or "" when there never was one."""
    return str((_get(f"{_pools(project)}/{pool}") or {}).get("state", ""))


def _pools(project: names.Project) -> str:
    return f"{_IAM}/{project.resource}/locations/global/workloadIdentityPools"


def _get(url: str) -> dict[str, Any] | None:
    try:
        return rest.call("GET", url)
    except exceptions.NotFound:
        return None


def _ensure(url: str, query: dict[str, str], body: dict[str, Any]) -> str:
    found = _get(url)
    if found is None:
        rest.call("POST", url.rpartition("/")[0], params=query, json=body)
    elif found["state"] == "DELETED":
        rest.call("POST", f"{url}:undelete", json={})
    # On Google the operation takes a few seconds.
    for _ in waiting.attempts(60):
        found = _get(url)
        if found is not None and found["state"] == "ACTIVE":
            return str(found["name"])
    raise TimeoutError(f"{url} isn't there after a minute.")
