"""The methods of `projects.builds` and `projects.locations.builds`.

Source: facts/artifact-registry.md section 5 and facts/gcloud.md "builds".
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from sandbox.api import filters, lists
from sandbox.api.methods import Call
from sandbox.cloud_build import build_filter, queue, starting, store, substitutions
from sandbox.errors import ApiError, not_found
from sandbox.iam import acting

TYPE = "type.googleapis.com/google.devtools.cloudbuild.v1."


def location(call: Call) -> str:
    """Return the location from the path, from the query's `parent`, or else `global`.

    The Python client calls the older path without a location and puts the parent into the query.
    """
    parent = re.fullmatch(r"projects/[^/]+/locations/([^/]+)", call.query.get("parent", ""))
    return call.params.get("location") or (parent[1] if parent else "global")


def create(call: Call) -> dict[str, Any]:
    """Start a build and return its operation."""
    return operation(call, starting.start(where(call), call.json()))


def where(call: Call) -> starting.Where:
    """Return the project, location and caller for a build that this call starts."""
    return starting.Where(call.world, call.project, location(call), call.principal.member)


def operation(call: Call, build: dict[str, Any]) -> dict[str, Any]:
    """Return the operation of a build, which is done when the build has ended."""
    name = f"operations/build/{build['projectId']}/{uuid.UUID(build['id']).hex}"
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


def get_operation(call: Call) -> dict[str, Any]:
    """Return the operation of a build in its current state."""
    try:
        build = store.find(call.world, str(uuid.UUID(call.params["operation"])))
    except ValueError:
        build = None
    if build is None or build["projectId"] != call.params["project"]:
        raise not_found()
    return operation(call, build)


def find(call: Call) -> dict[str, Any]:
    """Return the build that the call's path names."""
    build = store.find(call.world, call.params["build"])
    if build is None or build["projectId"] != call.params["project"]:
        raise not_found()
    place = build["name"].split("/")[3]
    if "location" in call.params and call.params["location"] != place:
        raise not_found()
    return build


def list_builds(call: Call) -> dict[str, Any]:
    """Return builds, newest first. gcloud leaves the filter to the server."""
    found = store.of_project(call.world, call.params["project"], location(call))
    found = list(filter(filters.parse(call.query.get("filter", ""), build_filter.compare), found))
    chosen, token = lists.page(found, call.query, lambda build: str(build["id"]))
    return lists.answer("builds", chosen, token)


def cancel(call: Call) -> dict[str, Any]:
    """Cancel a build that has not ended."""
    build = find(call)
    if build["status"] not in store.RUNNING:
        raise ApiError(
            "FAILED_PRECONDITION",
            f"cannot cancel build {build['id']}: build is in a finished state {build['status']}",  # unverified
        )
    call.world.part(queue.Queue).cancel(build["id"])
    return store.find(call.world, build["id"]) or build


# What the server set, and a new build gets anew.
_OUTPUT = {
    *("id", "name", "projectId", "status", "statusDetail", "createTime", "startTime", "finishTime", "results"),
    *("logUrl", "sourceProvenance", "timing", "failureInfo", "warnings", "artifacts"),
}


def retry(call: Call) -> dict[str, Any]:
    """Start a new build with the configuration and the source of an earlier one."""
    before = find(call)
    if before["status"] in store.RUNNING:
        raise ApiError("FAILED_PRECONDITION", f"cannot retry build {before['id']}: it has not ended")  # unverified
    again = {key: value for key, value in before.items() if key not in _OUTPUT}
    again["steps"] = [
        {key: value for key, value in step.items() if key not in ("status", "timing", "pullTiming", "exitCode")}
        for step in before["steps"]
    ]
    # Its templates are expanded already, so no key in the data matches any more.
    again["options"] = before["options"] | {"substitutionOption": "ALLOW_LOOSE"}
    if again.get("logsBucket", "").endswith(("cloudbuild-logs.googleusercontent.com", "-cloudbuild-logs")):
        del again["logsBucket"]
    again = json.loads(json.dumps(again))
    return operation(call, starting.start(where(call), again, _fired(before, again)))


def _fired(before: dict[str, Any], again: dict[str, Any]) -> starting.Fired | None:
    """Return what a trigger added to the build `before`, and remove it from `again`."""
    pushed = before.get("sourceProvenance", {}).get("resolvedGitSource")
    if not pushed:
        return None
    again.pop("source", None)
    again.pop("approval", None)
    trigger = {"id": again.pop("buildTriggerId")}
    again["tags"] = [tag for tag in again.get("tags", ()) if tag != f"trigger-{trigger['id']}"]
    given = again.get("substitutions", {})
    values = {key: given.pop(key) for key in substitutions.FROM_TRIGGER if key in given}
    return starting.Fired(trigger, values, dict(pushed))


def default_account(call: Call) -> dict[str, Any]:
    """Return the account that builds run as when they name none."""
    project = call.project
    return {
        "name": f"projects/{project.number}/locations/{location(call)}/defaultServiceAccount",
        "serviceAccountEmail": f"projects/{project.id}/serviceAccounts/{acting.default_account(project)}",
    }
