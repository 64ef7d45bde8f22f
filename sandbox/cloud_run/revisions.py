"""The Knative API of revisions, which can only be read and deleted. A change of their service creates them.

Source: https://cloud.google.com/run/docs/reference/rest/v1/namespaces.revisions and facts/gcloud-requests.md 7a to 7o.
"""

from __future__ import annotations

import copy

from sandbox.api.methods import Call
from sandbox.cloud_run import instances, knative, store
from sandbox.cloud_run.knative import Json
from sandbox.errors import ApiError


def list_revisions(call: Call) -> Json:
    """Return the revisions of a region by service, newest first. `labelSelector` can choose a service."""
    project = call.params["project"]
    knative.require(call, "run.revisions.list", f"projects/{project}", f"namespaces/{project}/revisions")
    found = [
        _shown(revision)
        for name, _ in store.of_project(call.world, project, knative.region(call))
        for revision in store.revisions(call.world, name)
    ]
    return knative.page(call, "RevisionList", found)


def _shown(revision: Json) -> Json:
    """Return a revision without the sandbox's own annotation."""
    answer = copy.deepcopy(revision)
    answer["metadata"]["annotations"].pop("workbook/template", None)
    return answer


def _find(call: Call, permission: str) -> tuple[str, Json]:
    """Return the revision in the path and the resource name of its service, after checking the permission."""
    project, wanted = call.params["project"], call.params["revision"]
    knative.require(call, permission, f"projects/{project}", f"namespaces/{project}/revisions/{wanted}")
    for name, _ in store.of_project(call.world, project, knative.region(call)):
        found = store.find_revision(call.world, store.revision_name(name, wanted))
        if found is not None:
            return name, found
    raise knative.missing(call, wanted, "REVISION")


def get_revision(call: Call) -> Json:
    """Return one revision."""
    return _shown(_find(call, "run.revisions.get")[1])


def delete_revision(call: Call) -> Json:
    """Delete a revision, unless it receives traffic or is the newest."""
    name, revision = _find(call, "run.revisions.delete")
    wanted = revision["metadata"]["name"]
    service = store.find(call.world, name) or {"status": {}}
    status = service["status"]
    if wanted == status.get("latestCreatedRevisionName"):
        raise ApiError("FAILED_PRECONDITION", "The latest created revision cannot be directly deleted.")
    if any(entry.get("revisionName") == wanted for entry in status.get("traffic", ())):
        raise ApiError("FAILED_PRECONDITION", f"Revision '{wanted}' is receiving traffic and cannot be deleted.")
    full = store.revision_name(name, wanted)
    with call.world.writing() as rows:
        store.remove_revision(rows, full)
    call.world.part(instances.Instances).forget(full)
    return {"apiVersion": "serving.knative.dev/v1", "kind": "Status", "status": "Success"}
