"""orgpolicy.googleapis.com v2: read the effective organisation policies of a project.

Source: https://cloud.google.com/resource-manager/docs/reference/orgpolicy/rest and gcloud's own client. The sandbox
reports the policies that were set through the admin surface, and enforces none of them.
"""

from __future__ import annotations

from typing import Any

from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.errors import not_found
from sandbox.project import org_limits


def _effective(call: Call) -> dict[str, Any]:
    constraint = call.params["policy"]
    try:
        rules = org_limits.rules(call.world, call.project.id, constraint)
    except KeyError:
        # unverified: Google's message for an unknown constraint
        raise not_found(f"The constraint {constraint} is none that the sandbox knows.") from None
    return {"name": f"projects/{call.project.number}/policies/{constraint}", "spec": {"rules": rules}}


API = Api(
    "orgpolicy.googleapis.com",
    "Organization Policy API",
    ordered(
        (
            Method(
                "orgpolicy.projects.policies.getEffectivePolicy",
                "GET",
                "/v2/projects/{project}/policies/{policy}:getEffectivePolicy",
                _effective,
                ("orgpolicy.policy.get",),
            ),
        )
    ),
)
