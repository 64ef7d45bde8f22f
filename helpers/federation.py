"""Workload identity federation, with which a project trusts identities outside Google without a key. REST.

A pool is for external identities, a provider names the issuer of their tokens, and a policy names them as members.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from helpers import names, waiting
from helpers.target import LABEL
from helpers.transport import rest

USER: Final = "roles/iam.workloadIdentityUser"
_IAM: Final = "https://iam.googleapis.com/v1"
_GITHUB: Final = "https://token.actions.githubusercontent.com"
_MAPPING: Final = {"google.subject": "assertion.sub", "attribute.repository": "assertion.repository"}


def pool_id(run: str) -> str:
    """Return the id of a run's pool: `wb-github-` and six hexadecimal digits, the same as in the run's accounts."""
    return f"wb-github-{hashlib.sha256(run.encode()).hexdigest()[:6]}"


def create_pool(project: names.Project, pool: str, run: str) -> str:
    """Create or undelete the pool unless it exists, and return its resource name, which has the project's number.

    Raises google.api_core.exceptions.GoogleAPICallError, TimeoutError.
    """
    about = {"displayName": "GitHub", "description": f"{LABEL}={run}"}
    return _ensure(f"{_pools(project)}/{pool}", {"workloadIdentityPoolId": pool}, about)


def trust_github(project: names.Project, pool: str, provider: str, repository: str) -> str:
    """Create a provider that accepts only one repository on GitHub, `OWNER/NAME`, and return its resource name.

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
    """Return the workflows of a repository as a policy names them. `pool` is the resource name."""
    return f"principalSet://iam.googleapis.com/{pool}/attribute.repository/{repository}"


def delete_pool(project: names.Project, pool: str) -> None:
    """Delete the pool with its providers, if it exists. Its id can't be used again for 30 days."""
    found = rest.find(f"{_pools(project)}/{pool}")
    if found and found["state"] == "ACTIVE":
        rest.call("DELETE", f"{_pools(project)}/{pool}")


def pool_state(project: names.Project, pool: str) -> str:
    """Return `ACTIVE` or `DELETED`, or "" when there never was a pool."""
    return str((rest.find(f"{_pools(project)}/{pool}") or {}).get("state", ""))


def _pools(project: names.Project) -> str:
    return f"{_IAM}/{project.resource}/locations/global/workloadIdentityPools"


def _ensure(url: str, query: dict[str, str], body: dict[str, Any]) -> str:
    found = rest.find(url)
    if found is None:
        rest.call("POST", url.rpartition("/")[0], params=query, json=body)
    elif found["state"] == "DELETED":
        rest.call("POST", f"{url}:undelete", json={})
    # On Google the operation takes a few seconds.
    for _ in waiting.attempts(60):
        found = rest.find(url)
        if found is not None and found["state"] == "ACTIVE":
            return str(found["name"])
    raise TimeoutError(f"{url} isn't there after a minute.")
