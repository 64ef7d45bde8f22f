"""Organisation policies and quotas of a project, which are reported and not enforced.

Lessons and tests set both through the admin surface. Each one that was set is a row of `meta`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sandbox.state import schema
from sandbox.state.world import World

# The default of each constraint: https://cloud.google.com/resource-manager/docs/organization-policy/
# org-policy-constraints. An organisation created since May 2024 enforces some of them by default; a project without an
# organisation, like the sandbox's, enforces none.
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
    """One limit of a service: the amount of `metric` that a project may use in a region, in `unit`."""

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
    """Return the effective rules, or raise KeyError for an unknown constraint."""
    default = CONSTRAINTS[constraint]
    found = _read(world, f"policy {project} {constraint}")
    return found if found is not None else [default]


def set_rules(world: World, project: str, constraint: str, wanted: list[dict[str, Any]]) -> None:
    """Set the rules of a constraint, where none restores the default. Raise KeyError for an unknown constraint."""
    if constraint not in CONSTRAINTS:
        raise KeyError(constraint)
    _write(world, f"policy {project} {constraint}", wanted or None)


def override(world: World, project: str, metric: str) -> dict[str, int]:
    """Return the limits that override the service's own, by region; "" means every region."""
    return _read(world, f"quota {project} {metric}") or {}


def set_override(world: World, project: str, metric: str, region: str, limit: int) -> None:
    """Set a limit for a region, or with "" for all; -1 means no limit. Raise KeyError for an unknown metric."""
    if not any(quota.metric == metric for quotas in QUOTAS.values() for quota in quotas):
        raise KeyError(metric)
    _write(world, f"quota {project} {metric}", {**override(world, project, metric), region: limit})


def _read(world: World, key: str) -> Any | None:
    with world.reading() as rows:
        return json.loads(schema.meta(rows, key) or "null")


def _write(world: World, key: str, value: Any | None) -> None:
    with world.writing() as rows:
        schema.put_meta(rows, key, json.dumps(value))
