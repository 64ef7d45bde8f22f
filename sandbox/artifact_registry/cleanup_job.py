"""The daily job that applies cleanup policies and writes an audit log, and time travel that runs the job.

On Google it runs "periodically", and changes take effect "within approximately one day"
(https://cloud.google.com/artifact-registry/docs/repositories/cleanup-policy-overview). Here it runs at 00:00 UTC of the
sandbox's clock, as Artifact Registry's service agent.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sandbox.artifact_registry import catalog, cleanup_policies
from sandbox.cloud_logging import entries
from sandbox.iam import members
from sandbox.state import schema
from sandbox.state.clock import timestamp
from sandbox.state.world import World

METHOD = "google.devtools.artifactregistry.v1.ArtifactRegistry.BatchDeleteVersions"
SERVICE = "artifactregistry.googleapis.com"
DATA_ACCESS = "cloudaudit.googleapis.com%2Fdata_access"
_BATCH = 1000  # versions in one log entry; unverified: an entry of Cloud Logging has at most 256 KB
_DAY = dt.timedelta(days=1)

_travelling = threading.Lock()


@dataclass(frozen=True)
class Run:
    """One run in one repository; `versions` were deleted, or with `dry_run` would have been."""

    time: dt.datetime
    repository: str
    dry_run: bool
    versions: tuple[cleanup_policies.Version, ...]


def travel(world: World, delta: dt.timedelta) -> list[Run]:
    """Move the clock forward, and run the job at each midnight on the way.

    If runs are overdue already, the job runs once immediately.

    Raises:
        ValueError: if the time to move by is negative.
        OverflowError: if the new time is after the year 9999.
    """
    if delta < dt.timedelta():
        raise ValueError("the clock only moves forward")
    with _travelling:
        destination = world.now() + delta
        runs: list[Run] = []
        due = next_run(world)
        if due <= world.now():
            runs += run(world)
            due = _midnight(world.now()) + _DAY
        while due <= destination:
            # A fixed clock ticks at each deletion, so it may be past midnight already.
            world.clock.advance(max(due - world.now(), dt.timedelta()))
            runs += run(world)
            due += _DAY
        world.clock.advance(max(destination - world.now(), dt.timedelta()))
        with world.writing() as rows:
            _store_offset(rows, world)
        return runs


def next_run(world: World) -> dt.datetime:
    """Return when the next run is due, which may be in the past."""
    return _last_run(world) + _DAY


def run(world: World) -> list[Run]:
    """Run the job in every repository with cleanup policies."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT repositories.* FROM repositories JOIN projects ON projects.id = project"
            " WHERE state = 'ACTIVE' AND instr(message, '\"cleanupPolicies\"') ORDER BY repositories.name"
        ).fetchall()
    moment = world.now()
    runs = [done for row in found if (done := _apply(world, row["name"], moment)) is not None]
    with world.writing() as rows:
        schema.put_meta(rows, "cleanup_ran", timestamp(moment))
        _store_offset(rows, world)
    return runs


def _apply(world: World, name: str, moment: dt.datetime) -> Run | None:
    # One transaction, so that no version changes between the decision and the deletion.
    with world.writing() as rows:
        repository = catalog.find_repository(rows, name)
        policies = repository.message.get("cleanupPolicies", {}) if repository else {}
        if repository is None or not policies:
            return None
        fates = cleanup_policies.decide(
            [cleanup_policies.Policy.of(key, policy) for key, policy in policies.items()],
            versions(rows, name),
            moment,
            immutable_tags=repository.immutable_tags,
        )
        going = tuple(fate.version for fate in fates if fate.delete)
        dry_run = bool(repository.message.get("cleanupPolicyDryRun", False))
        if not dry_run:
            for version in going:
                catalog.remove_version(rows, repository, version.package, version.name, force=True)
        for start in range(0, len(going), _BATCH):
            _log(rows, world, repository, going[start : start + _BATCH], dry_run)
    return Run(moment, name, dry_run, going)


def versions(rows: sqlite3.Connection, repository: str) -> list[cleanup_policies.Version]:
    """Return a repository's versions in the form that policies need, by package, oldest first."""
    tags: dict[tuple[str, str], list[str]] = {}
    for row in rows.execute("SELECT package, digest, id FROM tags WHERE repository = ? ORDER BY id", (repository,)):
        tags.setdefault((row["package"], row["digest"]), []).append(row["id"])
    parents: dict[tuple[str, str], list[str]] = {}
    for row in rows.execute("SELECT package, parent, child FROM children WHERE repository = ?", (repository,)):
        parents.setdefault((row["package"], row["child"]), []).append(row["parent"])
    found = rows.execute(
        "SELECT package, digest, subject, create_time FROM versions WHERE repository = ?"
        " ORDER BY package, create_time, digest",
        (repository,),
    )
    return [
        cleanup_policies.Version(
            package=row["package"],
            name=row["digest"],
            uploaded=dt.datetime.fromisoformat(row["create_time"]),
            tags=tuple(tags.get((row["package"], row["digest"]), ())),
            parents=tuple(parents.get((row["package"], row["digest"]), ())),
            attachment=bool(row["subject"]),
        )
        for row in found
    ]


def _log(
    rows: sqlite3.Connection,
    world: World,
    repository: catalog.Repository,
    going: tuple[cleanup_policies.Version, ...],
    dry_run: bool,
) -> None:
    """Write a Data Access entry. Google documents serviceName, methodName, request.parent and request.validateOnly."""
    parent = f"{repository.name}/packages/-"
    request: dict[str, Any] = {
        "@type": "type.googleapis.com/google.devtools.artifactregistry.v1.BatchDeleteVersionsRequest",
        "parent": parent,
        "names": [
            f"{repository.name}/packages/{quote(version.package, safe='')}/versions/{version.name}" for version in going
        ],
    }
    if dry_run:
        request["validateOnly"] = True
    number = rows.execute("SELECT number FROM projects WHERE id = ?", (repository.project,)).fetchone()["number"]
    labels = {"project_id": repository.project, "service": SERVICE, "method": METHOD}
    body = {
        "severity": "INFO",
        "resource": {"type": "audited_resource", "labels": labels},
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": SERVICE,
            "methodName": METHOD,
            "resourceName": parent,
            "authenticationInfo": {"principalEmail": members.REGISTRY_AGENT.format(number=number)},
            "request": request,
            "status": {},
        },
    }
    entries.write(rows, world, repository.project, DATA_ACCESS, body)


def _midnight(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _last_run(world: World) -> dt.datetime:
    """Return the midnight of the last run; in a new world, the midnight before its creation."""
    with world.reading() as rows:
        moment = schema.meta(rows, "cleanup_ran")
        moment = moment or rows.execute("SELECT MIN(create_time) AS time FROM projects").fetchone()["time"]
    return _midnight(dt.datetime.fromisoformat(moment) if moment else world.now())


def _store_offset(rows: sqlite3.Connection, world: World) -> None:
    schema.put_meta(rows, "clock_offset", str(world.clock.offset.total_seconds()))
