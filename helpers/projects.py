"""The project: what it is, and which of Google's services are enabled in it. REST, with the default credentials."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from google.api_core import exceptions

from helpers import rest
from helpers.names import Project

_SERVICES: Final = "https://serviceusage.googleapis.com/v1"
_PROJECTS: Final = "https://cloudresourcemanager.googleapis.com/v1"
ARTIFACT_REGISTRY: Final = "artifactregistry.googleapis.com"
_BATCH: Final = 20


@dataclass(frozen=True)
class ProjectFacts:
    """What Resource Manager says about a project."""

    project: Project
    number: str
    name: str
    state: str


def describe(project: Project) -> ProjectFacts:
    """Ask Resource Manager. Raises google.api_core.exceptions.Forbidden when the project isn't yours or isn't there."""
    found = rest.call("GET", f"{_PROJECTS}/{project.resource}")
    return ProjectFacts(
        project=Project(found["projectId"]),
        number=str(found["projectNumber"]),
        name=found.get("name", ""),
        state=found.get("lifecycleState", ""),
    )


def enabled(project: Project) -> tuple[str, ...]:
    """The services that are enabled, sorted. Raises google.api_core.exceptions.GoogleAPICallError."""
    names: list[str] = []
    page = ""
    while True:
        query = {"filter": "state:ENABLED", "pageSize": "200"} | ({"pageToken": page} if page else {})
        found = rest.call("GET", f"{_SERVICES}/{project.resource}/services", params=query)
        names += [service["config"]["name"] for service in found.get("services", [])]
        page = found.get("nextPageToken", "")
        if not page:
            return tuple(sorted(names))


def is_enabled(project: Project, service: str = ARTIFACT_REGISTRY) -> bool:
    """Whether one service is enabled. Raises google.api_core.exceptions.GoogleAPICallError."""
    return bool(rest.call("GET", f"{_SERVICES}/{project.resource}/services/{service}").get("state") == "ENABLED")


def enable(project: Project, *services: str, seconds: float = 180.0) -> tuple[str, ...]:
    """Enable services and wait until they are; gives those that weren't before.

    Raises google.api_core.exceptions.GoogleAPICallError, and TimeoutError when it takes longer than `seconds`.
    """
    already = set(enabled(project))
    wanted = tuple(service for service in dict.fromkeys(services) if service not in already)
    deadline = time.monotonic() + seconds
    for first in range(0, len(wanted), _BATCH):
        body = {"serviceIds": list(wanted[first : first + _BATCH])}
        operation = rest.call("POST", f"{_SERVICES}/{project.resource}/services:batchEnable", json=body)
        pause = 0.5
        while not operation.get("done"):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"Enabling {', '.join(wanted)} took longer than {seconds:g} seconds. Ask again in a minute."
                )
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
            operation = rest.call("GET", f"{_SERVICES}/{operation['name']}")
        if "error" in operation:
            error = operation["error"]
            raise exceptions.from_grpc_status(  # type: ignore[no-untyped-call]
                error.get("code", 2), error.get("message", "unknown error")
            )
    return wanted
