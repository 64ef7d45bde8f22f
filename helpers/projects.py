"""A project's properties, and the services that are enabled in it. REST, with the default credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.api_core import exceptions

from helpers import waiting
from helpers.names import Project
from helpers.transport import rest

_SERVICES: Final = "https://serviceusage.googleapis.com/v1"
_PROJECTS: Final = "https://cloudresourcemanager.googleapis.com/v1"
ARTIFACT_REGISTRY: Final = "artifactregistry.googleapis.com"
_BATCH: Final = 20
# Google: "wait a few minutes for the action to propagate to our systems".
_PATIENCE: Final = 420.0
# A call for each API that costs and changes nothing. Any answer but "disabled" shows that the API takes calls.
_PROBES: Final = {
    ARTIFACT_REGISTRY: "v1/{project}/locations?pageSize=1",
    "cloudbuild.googleapis.com": "v1/{project}/builds?pageSize=1",
    "cloudresourcemanager.googleapis.com": "v1/{project}",
    "containeranalysis.googleapis.com": "v1/{project}/occurrences?pageSize=1",
    "iam.googleapis.com": "v1/{project}/serviceAccounts?pageSize=1",
    "ondemandscanning.googleapis.com": "v1/{project}/locations/us/operations/none",
    "run.googleapis.com": "v2/{project}/locations/us-central1/services?pageSize=1",
    "secretmanager.googleapis.com": "v1/{project}/secrets?pageSize=1",
}


@dataclass(frozen=True)
class ProjectFacts:
    """A project's properties in Resource Manager."""

    project: Project
    number: str
    name: str
    state: str


def describe(project: Project) -> ProjectFacts:
    """Return a project's properties.

    Raises google.api_core.exceptions.Forbidden when the project isn't yours or doesn't exist.
    """
    found = rest.call("GET", f"{_PROJECTS}/{project.resource}")
    return ProjectFacts(
        project=Project(found["projectId"]),
        number=str(found["projectNumber"]),
        name=found.get("name", ""),
        state=found.get("lifecycleState", ""),
    )


def enabled(project: Project) -> tuple[str, ...]:
    """Return the services that are enabled, sorted. Raises google.api_core.exceptions.GoogleAPICallError."""
    url = f"{_SERVICES}/{project.resource}/services"
    found = rest.pages(url, "services", filter="state:ENABLED", pageSize="200")
    return tuple(sorted(service["config"]["name"] for service in found))


def is_enabled(project: Project, service: str = ARTIFACT_REGISTRY) -> bool:
    """Return whether one service is enabled. Raises google.api_core.exceptions.GoogleAPICallError."""
    return bool(rest.call("GET", f"{_SERVICES}/{project.resource}/services/{service}").get("state") == "ENABLED")


def answers(project: Project, service: str) -> bool:
    """Return whether an API takes calls for the project, which on Google begins minutes after enabling it.

    True for a service without a call that costs nothing. Raises google.api_core.exceptions.GoogleAPICallError.
    """
    if service not in _PROBES:
        return True
    try:
        rest.call("GET", f"https://{service}/{_PROBES[service].format(project=project.resource)}")
    except exceptions.Forbidden as error:
        return bool(error.reason != "SERVICE_DISABLED")
    except (exceptions.NotFound, exceptions.BadRequest):
        return True
    return True


def enable(project: Project, *services: str, seconds: float = _PATIENCE) -> tuple[str, ...]:
    """Enable services, wait until each takes calls, and return those that weren't enabled before.

    Raises google.api_core.exceptions.GoogleAPICallError, and TimeoutError when it takes longer than `seconds`.
    """
    already = set(enabled(project))
    wanted = tuple(service for service in dict.fromkeys(services) if service not in already)
    for first in range(0, len(wanted), _BATCH):
        body = {"serviceIds": list(wanted[first : first + _BATCH])}
        operation = rest.call("POST", f"{_SERVICES}/{project.resource}/services:batchEnable", json=body)
        for _ in waiting.attempts(seconds, first=0.5, longest=5.0):
            if not operation.get("done"):
                operation = rest.call("GET", f"{_SERVICES}/{operation['name']}")
            if operation.get("done"):
                break
        else:
            raise TimeoutError(
                f"Enabling {', '.join(wanted)} took longer than {seconds:g} seconds. Ask again in a minute."
            )
        if "error" in operation:
            error = operation["error"]
            raise exceptions.from_grpc_status(  # type: ignore[no-untyped-call]
                error.get("code", 2), error.get("message", "unknown error")
            )
    # Also those that were enabled before, because it may have been a moment ago.
    for service in services:
        if not any(answers(project, service) for _ in waiting.attempts(seconds, longest=10.0)):
            raise TimeoutError(f"{service} is enabled, and doesn't answer after {seconds:g} seconds. Ask again.")
    return wanted
