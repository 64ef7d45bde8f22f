"""The methods of cloudbuild.googleapis.com: v1 for builds and triggers, v2 for connected repositories.

Source: facts/artifact-registry.md section 5 and Appendix A "cloudbuild.v1"; facts/gcloud-requests.md 6a to 6y.
"""

from __future__ import annotations

from collections.abc import Callable

from sandbox.api.methods import Answer, Api, Call, Method, ordered
from sandbox.cloud_build import approvals, build_methods, connections, triggers
from sandbox.errors import caller_denied

_PLACES = ("/v1/projects/{project}", "/v1/projects/{project}/locations/{location}")


def _methods(base: str) -> tuple[Method, ...]:
    one, trigger = f"{base}/builds/{{build}}", f"{base}/triggers/{{trigger}}"
    b, t = "cloudbuild.projects.builds", "cloudbuild.projects.triggers"
    create, see = ("cloudbuild.builds.create",), ("cloudbuild.builds.get",)
    change, list_ = ("cloudbuild.builds.update",), ("cloudbuild.builds.list",)
    return (
        Method(f"{b}.approve", "POST", f"{one}:approve", approvals.decide, ("cloudbuild.builds.approve",)),
        Method(f"{b}.create", "POST", f"{base}/builds", build_methods.create, create, denial=caller_denied),
        Method(f"{b}.list", "GET", f"{base}/builds", build_methods.list_builds, list_),
        Method(f"{b}.get", "GET", one, build_methods.find, see),
        Method(f"{b}.cancel", "POST", f"{one}:cancel", build_methods.cancel, change),
        Method(f"{b}.retry", "POST", f"{one}:retry", build_methods.retry, create),
        # Google requires the permissions of builds for triggers: roles/cloudbuild.builds.editor may create them.
        Method(f"{t}.create", "POST", f"{base}/triggers", triggers.create, create),
        Method(f"{t}.list", "GET", f"{base}/triggers", triggers.list_triggers, list_),
        Method(f"{t}.get", "GET", trigger, triggers.find, see),
        Method(f"{t}.patch", "PATCH", trigger, triggers.patch, change),
        Method(f"{t}.delete", "DELETE", trigger, triggers.delete, change),
        Method(f"{t}.run", "POST", f"{trigger}:run", triggers.run, create),
    )


def _connections() -> tuple[Method, ...]:
    base = "/v2/projects/{project}/locations/{location}"
    connection = f"{base}/connections/{{connection}}"
    repository = f"{connection}/repositories/{{repository}}"
    c, r = "cloudbuild.projects.locations.connections", "cloudbuild.projects.locations.connections.repositories"

    def method(name: str, verb: str, path: str, handle: Callable[[Call], Answer], permission: str) -> Method:
        return Method(name, verb, path, handle, (f"cloudbuild.{permission}",))

    return (
        method(f"{c}.create", "POST", f"{base}/connections", connections.create, "connections.create"),
        method(f"{c}.list", "GET", f"{base}/connections", connections.list_connections, "connections.list"),
        method(f"{c}.get", "GET", connection, connections.get, "connections.get"),
        method(f"{c}.delete", "DELETE", connection, connections.delete, "connections.delete"),
        method(
            f"{c}.fetchLinkableRepositories",
            "GET",
            f"{connection}:fetchLinkableRepositories",
            connections.fetch_linkable,
            "connections.fetchLinkableRepositories",
        ),
        method(f"{r}.create", "POST", f"{connection}/repositories", connections.connect, "repositories.create"),
        method(f"{r}.list", "GET", f"{connection}/repositories", connections.list_repositories, "repositories.list"),
        method(f"{r}.get", "GET", repository, connections.get_repository, "repositories.get"),
        method(f"{r}.delete", "DELETE", repository, connections.disconnect, "repositories.delete"),
        method(
            "cloudbuild.projects.locations.operations.get",
            "GET",
            f"{base}/operations/{{operation}}",
            connections.get_operation,
            "operations.get",
        ),
    )


API = Api(
    "cloudbuild.googleapis.com",
    "Cloud Build API",
    ordered(
        (
            *_methods(_PLACES[0]),
            *_methods(_PLACES[1]),
            *_connections(),
            Method(
                "cloudbuild.projects.locations.getDefaultServiceAccount",
                "GET",
                f"{_PLACES[1]}/defaultServiceAccount",
                build_methods.default_account,
                ("cloudbuild.builds.get",),
            ),
            Method(
                "cloudbuild.operations.get",
                "GET",
                "/v1/operations/build/{project}/{operation}",
                build_methods.get_operation,
                ("cloudbuild.builds.get",),
            ),
        )
    ),
    regional=True,
)
