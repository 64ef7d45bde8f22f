"""What an organisation forbids in a project, and how much Google gives it: reported, and not enforced.

Lessons and tests set both through the admin surface. Rows of `meta`, one for each policy and quota that was set.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sandbox.state.world import World

# Constraint → what holds where nobody set a policy: https://cloud.google.com/resource-manager/docs/organization-policy/
# org-policy-constraints. An organisation made since May 2024 enforces some of them from its first day; a project
# without an organisation, as the sandbox's, none.
_OPEN: Final[dict[str, Any]] = {"allowAll": True}
_OFF: Final[dict[str, Any]] = {"enforce": False}
CONSTRAINTS: Final[dict[str, dict[str, Any]]] = {
    "gcp.resourceLocations": _OPEN,
    "gcp.restrictServiceUsage": _OPEN,
    "iam.allowedPolicyMemberDomains": _OPEN,
    "iam.disableServiceAccountCreation": _OFF,
    "iam.disableServiceAccountKeyCreation": _OFF,
    "iam.workloadIdentityPoolProviders": _OPEN,
    "run.allowedIngress": _OPEN,
}


@dataclass(frozen=True)
class Quota:
    """One limit of a service: how much of `metric` a project may use in a region, in `unit`."""

    metric: str
    title: str
    unit: str
    limit: int


# The amounts are Google's (facts/artifact-registry.md 7; https://cloud.google.com/build/quotas and /run/quotas).
# unverified: the metrics' names
QUOTAS: Final[dict[str, tuple[Quota, ...]]] = {
    "artifactregistry.googleapis.com": (
        Quota(
            "artifactregistry.googleapis.com/project_region_requests",
            "Requests per minute per region",
            "1/min/{project}/{region}",
            60_000,
        ),
        Quota(
            "artifactregistry.googleapis.com/project_region_write_requests",
            "Write requests per minute per region",
            "1/min/{project}/{region}",
            18_000,
        ),
    ),
    "cloudbuild.googleapis.com": (
        Quota(
            "cloudbuild.googleapis.com/concurrent_public_pool_build_cpus",
            "Concurrent CPUs of the default pool per region",
            "1/{project}/{region}",
            20,
        ),
    ),
    "run.googleapis.com": (
        Quota("run.googleapis.com/write_requests", "Write requests per minute", "1/min/{project}/{region}", 180),
    ),
}


def rules(world: World, project: str, constraint: str) -> list[dict[str, Any]]:
    """Return the rules in force. Raises KeyError for a constraint that isn't known here."""
    default = CONSTRAINTS[constraint]
    found = _read(world, f"policy {project} {constraint}")
    return found if found is not None else [default]


def set_rules(world: World, project: str, constraint: str, wanted: list[dict[str, Any]]) -> None:
    """Put a constraint into force with these rules; none brings back the default. Raises KeyError likewise."""
    if constraint not in CONSTRAINTS:
        raise KeyError(constraint)
    _write(world, f"policy {project} {constraint}", wanted or None)


def override(world: World, project: str, metric: str) -> dict[str, int]:
    """Region → the limit that was set in the place of the service's own; "" is every region."""
    return _read(world, f"quota {project} {metric}") or {}


def set_override(world: World, project: str, metric: str, region: str, limit: int) -> None:
    """Set a limit for a region, or with "" for all; -1 is none. Raises KeyError for a metric that isn't known here."""
    if not any(quota.metric == metric for quotas in QUOTAS.values() for quota in quotas):
        raise KeyError(metric)
    _write(world, f"quota {project} {metric}", {**override(world, project, metric), region: limit})


def _read(world: World, key: str) -> Any | None:
    with world.reading() as rows:
        row = rows.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return json.loads(row["value"]) if row else None


def _write(world: World, key: str, value: Any | None) -> None:
    with world.writing() as rows:
        if value is None:
            rows.execute("DELETE FROM meta WHERE key = ?", (key,))
        else:
            rows.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, json.dumps(value)))
