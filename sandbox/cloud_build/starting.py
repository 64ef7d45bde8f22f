"""Start a build: validate it, expand its substitutions, check its account and source, and queue it.

Sources: facts/artifact-registry.md section 5 and facts/gcloud.md "builds"; for a trigger's build, published
notifications with `source.gitSource`, `sourceProvenance.resolvedGitSource` and the tag `trigger-ID`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as with_default
from typing import Any

from google.cloud.devtools.cloudbuild_v1 import types

from sandbox.api import messages
from sandbox.cloud_build import queue, store, substitutions, validation
from sandbox.cloud_logging import entries
from sandbox.cloud_storage import objects
from sandbox.errors import ApiError, invalid, unimplemented
from sandbox.iam import acting, policies
from sandbox.state.clock import timestamp
from sandbox.state.projects import Project
from sandbox.state.world import World

_CONSOLE = "https://console.cloud.google.com/cloud-build/builds"
_UNSUPPORTED = {
    "secrets": "secrets in a build",
    "availableSecrets": "secrets from Secret Manager in a build",
    "approval": "builds that wait for an approval, unless a trigger asks for it",
    "gitConfig": "git settings of a build",
    "dependencies": "dependencies of a build",
}


@dataclass(frozen=True)
class Fired:
    """What a trigger adds to its build.

    Attributes:
        trigger: Google's BuildTrigger as JSON.
        values: the substitutions that it sets in addition to the user's.
        git: `url` and `revision` of the source at the Git host, or empty.
        by_event: whether an event started the build. It has no caller then, and the account was checked when the
            trigger was created.
        on_recorded: called in the transaction that stores the build.
    """

    trigger: Mapping[str, Any]
    values: dict[str, str]
    git: dict[str, str] = with_default(default_factory=dict)
    by_event: bool = False
    on_recorded: Callable[[sqlite3.Connection, str], None] = lambda rows, build_id: None


@dataclass(frozen=True)
class Where:
    """The project and location in which a build starts, and the caller.

    Attributes:
        member: the caller as a policy writes it; empty for an event.
    """

    world: World
    project: Project
    location: str
    member: str


def start(where: Where, body: dict[str, Any], fired: Fired | None = None) -> dict[str, Any]:
    """Start a build and return it.

    Args:
        fired: set for a trigger's build, which is always ALLOW_LOOSE.

    Raises:
        ApiError: if the build is invalid, or its account or source cannot be used.
    """
    world, project = where.world, where.project
    build = messages.render(messages.parse(types.Build.pb(), body, "build"))
    for field, what in _UNSUPPORTED.items():
        if build.get(field):
            raise unimplemented(what)
    with world.writing(tick=fired is None or not fired.by_event) as rows:
        build_id = store.new_id(rows, project.id)
    options = build.setdefault("options", {})
    _substitute(build, build_id, where, fired)
    build |= _header(where, build_id, "QUEUED") | {
        "timeout": build.get("timeout") or f"{validation.DEFAULT_TIMEOUT}s",
        "queueTtl": build.get("queueTtl") or "3600s",
        "artifacts": build.get("artifacts") or ({"images": build["images"]} if build.get("images") else {}),
    }
    try:
        validation.check(build)
    except validation.BuildInvalid as error:
        raise invalid(str(error)) from None
    email = account(where, build, by_event=fired is not None and fired.by_event)
    build["serviceAccount"] = f"projects/{project.id}/serviceAccounts/{email}"
    options.setdefault("logging", "LEGACY")
    options.setdefault("substitutionOption", "MUST_MATCH") if fired is None else None
    _resolve_source(where, build, email)
    if fired is not None:
        _add_trigger(build, fired)
    build = {key: value for key, value in build.items() if value not in ({}, [], "")}
    build.setdefault("options", options)
    log_object = _place_log(where, build, email)
    with world.writing(tick=fired is None or not fired.by_event) as rows:
        store.add(rows, where.location, build)
        if log_object:
            bucket, name = log_object
            if objects.find_bucket(rows, bucket.name) != bucket:
                # Deleted or recreated since it was checked. unverified: the sentence
                raise ApiError("ABORTED", f"The bucket {bucket.name} was deleted meanwhile. Submit the build again.")
            file = store.log_file(world, build_id).relative_to(world.folder)
            objects.add_growing(rows, world, bucket.name, name, str(file))
        _audit(where, rows, build)
        if fired is not None:
            fired.on_recorded(rows, build["id"])
    if build["status"] == "QUEUED":
        world.part(queue.Queue).submit(build)
    return build


def _header(where: Where, build_id: str, status: str) -> dict[str, Any]:
    number = where.project.number
    return {
        "id": build_id,
        "name": f"projects/{number}/locations/{where.location}/builds/{build_id}",
        "projectId": where.project.id,
        "status": status,
        "createTime": timestamp(where.world.now()),
        "logUrl": f"{_CONSOLE};region={where.location}/{build_id}?project={number}",
    }


def _add_trigger(build: dict[str, Any], fired: Fired) -> None:
    trigger = fired.trigger
    build["buildTriggerId"] = trigger["id"]
    build["tags"] = [*build.get("tags", ()), *trigger.get("tags", ()), f"trigger-{trigger['id']}"]
    if fired.git:
        build["source"] = {"gitSource": dict(fired.git)}
        build["sourceProvenance"] = {"resolvedGitSource": dict(fired.git)}
    if trigger.get("approvalConfig", {}).get("approvalRequired"):
        build |= {"status": "PENDING", "approval": {"state": "PENDING", "config": dict(trigger["approvalConfig"])}}


def fail(where: Where, fired: Fired, reason: str) -> dict[str, Any]:
    """Store a trigger's build that could not start, as one that failed with `reason`."""
    with where.world.writing(tick=False) as rows:
        build_id = store.new_id(rows, where.project.id)
    build = _header(where, build_id, "FAILURE")
    build |= {
        "statusDetail": reason,
        "startTime": build["createTime"],
        "finishTime": build["createTime"],
        "steps": [],
        "options": {"substitutionOption": "ALLOW_LOOSE", "dynamicSubstitutions": True, "logging": "NONE"},
        "substitutions": shown(fired.values),
    }
    _add_trigger(build, fired)
    build["status"] = "FAILURE"
    build.pop("approval", None)
    with where.world.writing(tick=False) as rows:
        store.add(rows, where.location, build)
        fired.on_recorded(rows, build_id)
    return build


def _audit(where: Where, rows: sqlite3.Connection, build: dict[str, Any]) -> None:
    project = where.project
    payload = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "serviceName": "cloudbuild.googleapis.com",
        "methodName": "google.devtools.cloudbuild.v1.CloudBuild.CreateBuild",
        "resourceName": f"projects/{project.id}/builds",
        "authenticationInfo": {"principalEmail": where.member.partition(":")[2]},
    }
    resource = {"type": "build", "labels": {"project_id": project.id, "build_id": build["id"]}}
    body = {"protoPayload": payload, "resource": resource, "severity": "NOTICE"}
    entries.write(rows, where.world, project.id, "cloudaudit.googleapis.com%2Factivity", body)


def _substitute(build: dict[str, Any], build_id: str, where: Where, fired: Fired | None) -> None:
    project, trigger = where.project, fired.values if fired is not None else None
    options = build["options"]
    given = dict(build.get("substitutions", {}))
    dynamic = bool(options.get("dynamicSubstitutions")) or trigger is not None
    loose = options.get("substitutionOption") == "ALLOW_LOOSE" or trigger is not None
    always = {
        "PROJECT_ID": project.id,
        "PROJECT_NUMBER": project.number,
        "BUILD_ID": build_id,
        "LOCATION": where.location,
    }
    empty = dict.fromkeys(substitutions.FROM_TRIGGER, "")
    try:
        substitutions.check_data(given)
        known = {key: "" for key in trigger or () if key.startswith("_")}
        warnings = substitutions.check(build, given, loose=loose, dynamic=dynamic, known=known)
        values = {**empty, **(trigger or {}), **given, **always}
        if dynamic:
            values = substitutions.resolve(values)
        expanded = substitutions.apply(build, values, dynamic=dynamic)
    except substitutions.SubstitutionError as error:
        raise invalid(f"generic::invalid_argument: invalid value for 'build.substitutions': {error}") from None
    for step in expanded["steps"]:
        if step.pop("automapSubstitutions", options.get("automapSubstitutions")):
            step["env"] = [*step.get("env", ()), *(f"{key}={value}" for key, value in values.items())]
    if warnings:
        build["warnings"] = [{"text": text, "priority": "WARNING"} for text in warnings]
    build |= expanded
    if trigger is not None:
        build["substitutions"] = {**shown(trigger), **given}


def shown(values: Mapping[str, str]) -> dict[str, str]:
    """Return those of a trigger's substitutions that Google keeps in the build."""
    return {key: value for key, value in values.items() if value or key == "TRIGGER_BUILD_CONFIG_PATH"}


def account(where: Where, build: Mapping[str, Any], *, by_event: bool = False) -> str:
    """Return the account that a build runs as, which is the default account if it names none.

    Args:
        by_event: whether there is no caller. The account has to exist and be enabled, and nothing else is checked.

    Raises:
        ApiError: PERMISSION_DENIED if the caller may not act as the account.
    """
    named = build.get("serviceAccount") or acting.default_account(where.project)
    if by_event:
        email = acting.resolve(where.world, named, builds_of=where.project)
    else:
        email = acting.check(where.world, where.member, named, builds_of=where.project)
    if email is None:
        raise ApiError("PERMISSION_DENIED", f"caller does not have permission to act as service account {named}")
    return email


def _resolve_source(where: Where, build: dict[str, Any], email: str) -> None:
    world = where.world
    source = build.get("source", {})
    if not source:
        return
    if "storageSource" not in source:
        raise unimplemented(f"a build's source from {next(iter(source))}; it takes an archive in Cloud Storage")
    bucket_name, object_name = (source["storageSource"].get(field, "") for field in ("bucket", "object"))
    with world.reading() as rows:
        bucket = objects.find_bucket(rows, bucket_name)
        stored = objects.find(rows, bucket_name, object_name) if bucket else None
    permission = "storage.objects.get"
    if bucket is None or not policies.decide(world, f"serviceAccount:{email}", permission, bucket.resource).allowed:
        raise invalid(
            f"could not resolve source: googleapi: Error 403: {email} does not have {permission} access to the Google "
            f"Cloud Storage object. Permission '{permission}' denied on resource (or it may not exist)., forbidden"
        )
    if stored is None:
        raise invalid(
            f"could not resolve source: googleapi: Error 404: No such object: {bucket_name}/{object_name}, notFound"
        )
    build["sourceProvenance"] = {
        "resolvedStorageSource": {
            "bucket": stored.bucket,
            "object": stored.name,
            "generation": str(stored.generation),
        }
    }


def _place_log(where: Where, build: dict[str, Any], email: str) -> tuple[objects.Bucket, str] | None:
    """Return the bucket and the object of the log, or None if the build writes no log to Cloud Storage."""
    world, project = where.world, where.project
    options = build["options"]
    if options.get("logging") in ("CLOUD_LOGGING_ONLY", "STACKDRIVER_ONLY", "NONE"):
        return None
    named = build.get("logsBucket", "").removeprefix("gs://")
    if named:
        bucket_name, _, folder = named.partition("/")
        with world.reading() as rows:
            bucket = objects.find_bucket(rows, bucket_name)
        bucket = _writable(world, bucket, bucket_name, email)
    else:
        folder = ""
        if options.get("defaultLogsBucketBehavior") == "REGIONAL_USER_OWNED_BUCKET":
            bucket_name = f"{project.number}-{where.location}-cloudbuild-logs"
        else:
            bucket_name = f"{project.number}.cloudbuild-logs.googleusercontent.com"
        with world.writing() as rows:
            if objects.find_bucket(rows, bucket_name) is None:
                objects.make_bucket(rows, world, bucket_name, project.id, "US")
            bucket = objects.find_bucket(rows, bucket_name)
        bucket = objects.require_own(bucket, project.id)
        if options.get("defaultLogsBucketBehavior") == "REGIONAL_USER_OWNED_BUCKET":
            bucket = _writable(world, bucket, bucket_name, email)
        build["logsBucket"] = f"gs://{bucket_name}"
    return bucket, f"{folder.rstrip('/')}/log-{build['id']}.txt".lstrip("/")


def _writable(world: World, bucket: objects.Bucket | None, name: str, email: str) -> objects.Bucket:
    if (
        bucket is None
        or not policies.decide(world, f"serviceAccount:{email}", "storage.objects.create", bucket.resource).allowed
    ):
        raise ApiError(
            "PERMISSION_DENIED",
            f"{email} does not have storage.objects.create access to the Google Cloud Storage bucket {name}.",
        )
    return bucket
