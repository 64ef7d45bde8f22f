"""`projects.builds` and `projects.locations.builds`: create, get, list, cancel, retry.

Source: facts/artifact-registry.md section 5 and facts/gcloud.md "builds".
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from google.cloud.devtools.cloudbuild_v1 import types

from sandbox.api import filters, lists, messages
from sandbox.api.methods import Call
from sandbox.cloud_build import queue, store, substitutions, validation
from sandbox.cloud_logging import entries
from sandbox.cloud_storage import objects
from sandbox.errors import ApiError, invalid, not_found, unimplemented
from sandbox.iam import acting, policies
from sandbox.state.clock import timestamp
from sandbox.state.projects import Project

TYPE = "type.googleapis.com/google.devtools.cloudbuild.v1."
_CONSOLE = "https://console.cloud.google.com/cloud-build/builds"
_UNSUPPORTED = {
    "secrets": "secrets in a build",
    "availableSecrets": "secrets from Secret Manager in a build",
    "approval": "builds that wait for an approval",
    "gitConfig": "git settings of a build",
    "dependencies": "dependencies of a build",
}


def location(call: Call) -> str:
    """Return the location of a path; the older paths without one mean `global`, unless `parent` says otherwise.

    The Python client calls the older path and puts the parent into the query.
    """
    parent = re.fullmatch(r"projects/[^/]+/locations/([^/]+)", call.query.get("parent", ""))
    return call.params.get("location") or (parent[1] if parent else "global")


def create(call: Call) -> dict[str, Any]:
    """Check a build and put it into the queue; the operation carries it."""
    messages.parse(types.Build.pb(), call.json(), "build")
    return start(call, call.json())


def start(call: Call, asked: dict[str, Any], *, trigger: dict[str, str] | None = None) -> dict[str, Any]:
    """Do the rest of `create`, which triggers use too.

    Args:
        trigger: what a trigger sets beside the user's substitutions; a build of a trigger is always ALLOW_LOOSE.
    """
    build = messages.render(messages.parse(types.Build.pb(), asked, "build"))
    for field, what in _UNSUPPORTED.items():
        if build.get(field):
            raise unimplemented(what)
    project = call.project
    with call.world.writing() as rows:
        build_id = store.new_id(rows, project.id)
    options = build.setdefault("options", {})
    _substitute(build, build_id, call, project, trigger)
    build = build | {
        "id": build_id,
        "name": f"projects/{project.number}/locations/{location(call)}/builds/{build_id}",
        "projectId": project.id,
        "status": "QUEUED",
        "createTime": timestamp(call.world.now()),
        "timeout": build.get("timeout") or f"{validation.DEFAULT_TIMEOUT}s",
        "queueTtl": build.get("queueTtl") or "3600s",
        "logUrl": f"{_CONSOLE};region={location(call)}/{build_id}?project={project.number}",
        "artifacts": build.get("artifacts") or ({"images": build["images"]} if build.get("images") else {}),
    }
    try:
        validation.check(build)
    except validation.BuildInvalid as error:
        raise invalid(str(error)) from None
    email = account(call, build, project)
    build["serviceAccount"] = f"projects/{project.id}/serviceAccounts/{email}"
    options.setdefault("logging", "LEGACY")
    options.setdefault("substitutionOption", "MUST_MATCH") if trigger is None else None
    _resolve_source(call, build, email)
    build = {key: value for key, value in build.items() if value not in ({}, [], "")}
    build.setdefault("options", options)
    log_object = _place_log(call, build, project, email)
    with call.world.writing() as rows:
        store.add(rows, location(call), build)
        if log_object:
            bucket, name = log_object
            if objects.find_bucket(rows, bucket.name) != bucket:
                # Deleted, or made anew by whoever, since it was looked at. unverified: the sentence
                raise ApiError("ABORTED", f"The bucket {bucket.name} was deleted meanwhile. Submit the build again.")
            file = store.log_file(call.world, build_id).relative_to(call.world.folder)
            objects.add_growing(rows, call.world, bucket.name, name, str(file))
        _audit(call, rows, project, build)
    call.world.part(queue.Queue).submit(build)
    return operation(call, build)


def _audit(call: Call, rows: Any, project: Project, build: dict[str, Any]) -> None:
    payload = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "serviceName": "cloudbuild.googleapis.com",
        "methodName": "google.devtools.cloudbuild.v1.CloudBuild.CreateBuild",
        "resourceName": f"projects/{project.id}/builds",
        "authenticationInfo": {"principalEmail": call.principal.email},
    }
    resource = {"type": "build", "labels": {"project_id": project.id, "build_id": build["id"]}}
    body = {"protoPayload": payload, "resource": resource, "severity": "NOTICE"}
    entries.write(rows, call.world, project.id, "cloudaudit.googleapis.com%2Factivity", body)


def _substitute(
    build: dict[str, Any], build_id: str, call: Call, project: Project, trigger: dict[str, str] | None
) -> None:
    options = build["options"]
    given = dict(build.get("substitutions", {}))
    dynamic = bool(options.get("dynamicSubstitutions")) or trigger is not None
    loose = options.get("substitutionOption") == "ALLOW_LOOSE" or trigger is not None
    always = {
        "PROJECT_ID": project.id,
        "PROJECT_NUMBER": project.number,
        "BUILD_ID": build_id,
        "LOCATION": location(call),
    }
    empty = dict.fromkeys(substitutions.FROM_TRIGGER, "")
    try:
        substitutions.check_data(given)
        warnings = substitutions.check(build, given, loose=loose, dynamic=dynamic)
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
        build["substitutions"] = {**{key: value for key, value in trigger.items() if value}, **given}


def account(call: Call, build: Mapping[str, Any], project: Project) -> str:
    """Return the account that a build runs as: its own, or the default.

    Raises:
        ApiError: PERMISSION_DENIED when the caller may not act as it.
    """
    named = build.get("serviceAccount") or acting.default_account(project)
    email = acting.check(call.world, call.principal.member, named, builds_of=project)
    if email is None:
        raise ApiError("PERMISSION_DENIED", f"caller does not have permission to act as service account {named}")
    return email


def _resolve_source(call: Call, build: dict[str, Any], email: str) -> None:
    source = build.get("source", {})
    if not source:
        return
    if "storageSource" not in source:
        raise unimplemented(f"a build's source from {next(iter(source))}; it takes an archive in Cloud Storage")
    asked = source["storageSource"]
    with call.world.reading() as rows:
        bucket = objects.find_bucket(rows, asked.get("bucket", ""))
        stored = objects.find(rows, asked.get("bucket", ""), asked.get("object", "")) if bucket else None
    permission = "storage.objects.get"
    if (
        bucket is None
        or not policies.decide(call.world, f"serviceAccount:{email}", permission, bucket.resource).allowed
    ):
        raise invalid(
            f"could not resolve source: googleapi: Error 403: {email} does not have {permission} access to the Google "
            f"Cloud Storage object. Permission '{permission}' denied on resource (or it may not exist)., forbidden"
        )
    if stored is None:
        raise invalid(
            f"could not resolve source: googleapi: Error 404: No such object: {asked['bucket']}/"
            f"{asked.get('object', '')}, notFound"
        )
    build["sourceProvenance"] = {
        "resolvedStorageSource": {
            "bucket": stored.bucket,
            "object": stored.name,
            "generation": str(stored.generation),
        }
    }


def _place_log(call: Call, build: dict[str, Any], project: Project, email: str) -> tuple[objects.Bucket, str] | None:
    """Return the bucket and the object of the log; None when the build writes none to Cloud Storage."""
    options = build["options"]
    if options.get("logging") in ("CLOUD_LOGGING_ONLY", "STACKDRIVER_ONLY", "NONE"):
        return None
    named = build.get("logsBucket", "").removeprefix("gs://")
    if named:
        bucket_name, _, folder = named.partition("/")
        with call.world.reading() as rows:
            bucket = objects.find_bucket(rows, bucket_name)
        bucket = _writable(call, bucket, bucket_name, email)
    else:
        folder = ""
        if options.get("defaultLogsBucketBehavior") == "REGIONAL_USER_OWNED_BUCKET":
            bucket_name = f"{project.number}-{location(call)}-cloudbuild-logs"
        else:
            bucket_name = f"{project.number}.cloudbuild-logs.googleusercontent.com"
        with call.world.writing() as rows:
            if objects.find_bucket(rows, bucket_name) is None:
                objects.make_bucket(rows, call.world, bucket_name, project.id, "US")
            bucket = objects.find_bucket(rows, bucket_name)
        bucket = objects.require_own(bucket, project.id)
        if options.get("defaultLogsBucketBehavior") == "REGIONAL_USER_OWNED_BUCKET":
            bucket = _writable(call, bucket, bucket_name, email)
        build["logsBucket"] = f"gs://{bucket_name}"
    return bucket, f"{folder.rstrip('/')}/log-{build['id']}.txt".lstrip("/")


def _writable(call: Call, bucket: objects.Bucket | None, name: str, email: str) -> objects.Bucket:
    if (
        bucket is None
        or not policies.decide(call.world, f"serviceAccount:{email}", "storage.objects.create", bucket.resource).allowed
    ):
        raise ApiError(
            "PERMISSION_DENIED",
            f"{email} does not have storage.objects.create access to the Google Cloud Storage bucket {name}.",
        )
    return bucket


def operation(call: Call, build: dict[str, Any]) -> dict[str, Any]:
    """Return the operation of a build: done when the build has ended."""
    name = f"operations/build/{build['projectId']}/{_token(build['id'])}"
    answer: dict[str, Any] = {"name": name, "metadata": {"@type": f"{TYPE}BuildOperationMetadata", "build": build}}
    if build["status"] == "SUCCESS":
        answer |= {"done": True, "response": {"@type": f"{TYPE}Build", **build}}
    elif build["status"] not in store.RUNNING:
        code = 1 if build["status"] == "CANCELLED" else 4 if build["status"] == "TIMEOUT" else 2
        detail = build.get("statusDetail", build["status"])
        answer |= {
            "done": True,
            "error": {"code": code, "message": f"Build failed; check build logs for details: {detail}"},
        }
    return answer


def _token(build_id: str) -> str:
    return uuid.UUID(build_id).hex


def get_operation(call: Call) -> dict[str, Any]:
    """Return an operation of this API: the build behind it as it is now."""
    try:
        build = store.find(call.world, str(uuid.UUID(call.params["operation"])))
    except ValueError:
        build = None
    if build is None or build["projectId"] != call.params["project"]:
        raise not_found()
    return operation(call, build)


def find(call: Call) -> dict[str, Any]:
    """Return the build that a path names.

    Raises:
        ApiError: NOT_FOUND.
    """
    build = store.find(call.world, call.params["build"])
    if build is None or build["projectId"] != call.params["project"]:
        raise not_found()
    place = build["name"].split("/")[3]
    if "location" in call.params and call.params["location"] != place:
        raise not_found()
    return build


_FIELDS = {
    "status": lambda build: build["status"],
    "id": lambda build: build["id"],
    "build_id": lambda build: build["id"],
    "trigger_id": lambda build: build.get("buildTriggerId", ""),
    "build_trigger_id": lambda build: build.get("buildTriggerId", ""),
    "tags": lambda build: tuple(build.get("tags", ())),
    "source_bucket": lambda build: build.get("source", {}).get("storageSource", {}).get("bucket", ""),
}


def list_builds(call: Call) -> dict[str, Any]:
    """Newest first; the filter is applied here, never by gcloud."""
    found = store.of_project(call.world, call.params["project"], location(call))
    found = list(filter(filters.matcher(call.query.get("filter", ""), _FIELDS), found))
    chosen, token = lists.page(found, call.query, lambda build: str(build["id"]))
    return lists.answer("builds", chosen, token)


def cancel(call: Call) -> dict[str, Any]:
    """Stop a build; one that has ended cannot be cancelled."""
    build = find(call)
    if build["status"] not in store.RUNNING:
        raise ApiError(
            "FAILED_PRECONDITION",
            f"cannot cancel build {build['id']}: build is in a finished state {build['status']}",  # unverified
        )
    call.world.part(queue.Queue).cancel(build["id"])
    return store.find(call.world, build["id"]) or build


_FROM_ANSWER = [
    "id",
    "name",
    "projectId",
    "status",
    "statusDetail",
    "createTime",
    "startTime",
    "finishTime",
    "results",
    "logUrl",
    "sourceProvenance",
    "timing",
    "failureInfo",
    "warnings",
    "artifacts",
]


def retry(call: Call) -> dict[str, Any]:
    """Start a new build of the same, with the same source."""
    before = find(call)
    if before["status"] in store.RUNNING:
        raise ApiError("FAILED_PRECONDITION", f"cannot retry build {before['id']}: it has not ended")  # unverified
    again = {key: value for key, value in before.items() if key not in _FROM_ANSWER}
    again["steps"] = [
        {key: value for key, value in step.items() if key not in ("status", "timing", "pullTiming", "exitCode")}
        for step in before["steps"]
    ]
    # Its templates are expanded already: what stood in the data matches nothing any more.
    again["options"] = before["options"] | {"substitutionOption": "ALLOW_LOOSE"}
    if again.get("logsBucket", "").endswith(("cloudbuild-logs.googleusercontent.com", "-cloudbuild-logs")):
        del again["logsBucket"]
    return start(call, json.loads(json.dumps(again)))


def default_account(call: Call) -> dict[str, Any]:
    """Which account builds run as when they name none."""
    project = call.project
    return {
        "name": f"projects/{project.number}/locations/{location(call)}/defaultServiceAccount",
        "serviceAccountEmail": f"projects/{project.id}/serviceAccounts/{acting.default_account(project)}",
    }
