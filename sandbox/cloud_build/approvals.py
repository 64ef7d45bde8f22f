"""Approve or reject a pending build: `builds.approve`.

Source: google/devtools/cloudbuild/v1/cloudbuild.proto (BuildApproval, ApprovalResult);
https://cloud.google.com/build/docs/securing-builds/gate-builds-on-approval
"""

from __future__ import annotations

import json
from typing import Any

from google.cloud.devtools.cloudbuild_v1 import types

from sandbox.api import messages
from sandbox.api.methods import Call
from sandbox.cloud_build import build_methods, queue, store
from sandbox.errors import ApiError, invalid
from sandbox.state.clock import timestamp


def decide(call: Call) -> dict[str, Any]:
    """Queue a pending build, or reject it."""
    body = messages.render(messages.parse(types.ApproveBuildRequest.pb(), call.json()))
    given = body.get("approvalResult", {})
    if given.get("decision") not in ("APPROVED", "REJECTED"):
        raise invalid("approval_result.decision must be APPROVED or REJECTED")  # unverified: the sentence
    build_id = build_methods.find(call)["id"]
    now = timestamp(call.world.now())
    with call.world.writing() as rows:
        row = rows.execute("SELECT build FROM builds WHERE id = ?", (build_id,)).fetchone()
        build: dict[str, Any] = json.loads(row["build"])
        approval = build.get("approval", {})
        if approval.get("state") != "PENDING" or build["status"] != "PENDING":
            # unverified: the sentence
            raise ApiError("FAILED_PRECONDITION", f"build {build_id} does not wait for an approval")
        result = {
            "approverAccount": call.principal.email,
            "approvalTime": now,
            **{field: given[field] for field in ("decision", "comment", "url") if given.get(field)},
        }
        build["approval"] = {**approval, "state": given["decision"], "result": result}
        if given["decision"] == "APPROVED":
            build["status"] = "QUEUED"
        else:
            # unverified: the status of a build that was rejected
            build |= {"status": "CANCELLED", "finishTime": now}
        store.put(rows, build)
    if build["status"] == "QUEUED":
        call.world.part(queue.Queue).submit(build)
    return build_methods.operation(call, build)
