"""getIamPolicy, setIamPolicy and testIamPermissions, the methods that every resource with a policy has.

Source: google/iam/v1/iam_policy.proto, whose messages are the schema here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.iam.v1 import iam_policy_pb2

from sandbox.api import messages
from sandbox.api.methods import Call, Method
from sandbox.errors import ApiError, invalid, unimplemented
from sandbox.iam import policies


def policy_methods(
    prefix: str,
    path: str,
    resource: str,
    permission: str,
    *,
    get_verbs: Sequence[str] = ("GET",),
    exists: Callable[[Call], object] | None = None,
) -> list[Method]:
    """Return the three methods of one kind of resource.

    Args:
        prefix: of the method ids, for example `artifactregistry.projects.locations.repositories`.
        path: of the resource, for example `/v1/projects/{project}/locations/{location}/repositories/{repository}`.
        resource: the policy-bearing resource, with the path's variables in braces.
        permission: the prefix of `.getIamPolicy` and `.setIamPolicy`: `artifactregistry.repositories`.
        get_verbs: getIamPolicy is a GET in some APIs and a POST in others.
        exists: raises the API's own 404 if the resource does not exist; None if the dispatch table checks it.
    """

    def check(call: Call) -> str:
        if exists is not None:
            exists(call)
        return resource.format(**call.params)

    def get(call: Call) -> dict[str, Any]:
        _check_version(call)
        name = check(call)
        with call.world.reading() as rows:
            return policies.get_policy(rows, name)

    def replace(call: Call) -> dict[str, Any]:
        body = call.json()
        request = messages.parse(iam_policy_pb2.SetIamPolicyRequest, body)
        if not isinstance(body.get("policy"), dict):
            raise invalid("The request has no policy.")
        if request.update_mask.paths and "bindings" not in request.update_mask.paths:
            raise unimplemented("setIamPolicy with an updateMask that leaves the bindings out")
        return policies.set_policy(call.world, check(call), body["policy"], lambda: check(call))

    def test(call: Call) -> dict[str, Any]:
        wanted = messages.parse(iam_policy_pb2.TestIamPermissionsRequest, call.json()).permissions
        try:
            name = check(call)
        except ApiError as error:
            # "If the resource does not exist, this will return an empty set of permissions, not a NOT_FOUND error."
            if error.status != "NOT_FOUND":
                raise
            return {}
        held = policies.test_permissions(call.world, call.principal.member, name, wanted)
        return {"permissions": held} if held else {}

    return [
        *(
            Method(
                f"{prefix}.getIamPolicy", verb, f"{path}:getIamPolicy", get, (f"{permission}.getIamPolicy",), resource
            )
            for verb in get_verbs
        ),
        Method(
            f"{prefix}.setIamPolicy", "POST", f"{path}:setIamPolicy", replace, (f"{permission}.setIamPolicy",), resource
        ),
        Method(f"{prefix}.testIamPermissions", "POST", f"{path}:testIamPermissions", test, (), resource),
    ]


def _check_version(call: Call) -> None:
    """Check the version in the query or in the body. Policies without conditions always have version 1."""
    request = messages.parse(iam_policy_pb2.GetIamPolicyRequest, call.json())
    version = call.query.get("options.requestedPolicyVersion") or str(request.options.requested_policy_version)
    if version not in ("0", "1", "3"):
        raise invalid(f"Invalid value {version} for requestedPolicyVersion: valid values are 0, 1, and 3.")
