"""Check whether a call may be made: the project has the API, and the caller has the permission.

The Google APIs, the registry, IAM and Logging share these checks, and each words its own refusal.
"""

from __future__ import annotations

from sandbox.api.methods import Call
from sandbox.errors import permission_denied, service_disabled
from sandbox.iam import policies
from sandbox.state import projects
from sandbox.state.projects import Project
from sandbox.state.world import World


def require_api(world: World, project: Project, service: str, title: str) -> None:
    """Raise if an API is not enabled in a project.

    Args:
        service: for example `artifactregistry.googleapis.com`.
        title: the API's name in messages, for example `Artifact Registry API`.

    Raises:
        ApiError: PERMISSION_DENIED with the reason SERVICE_DISABLED.
    """
    if not projects.is_effective(world, project.id, service):
        raise service_disabled(title, service, project.number)


def is_allowed(call: Call, permission: str, resource: str) -> bool:
    """Return whether the caller has a permission on a resource."""
    return policies.decide(call.world, call.principal.member, permission, resource).allowed


def require(call: Call, permission: str, resource: str, *, service: str, shown: str = "") -> None:
    """Raise if the caller does not have a permission, in the usual words of Google's APIs.

    Args:
        resource: the resource whose policy decides.
        service: the API that the resource belongs to.
        shown: the resource that the message names, if it is another one.

    Raises:
        ApiError: PERMISSION_DENIED.
    """
    if not is_allowed(call, permission, resource):
        raise permission_denied(permission, f"//{service}/{shown or resource}")
