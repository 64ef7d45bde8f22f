"""Removing what a run created, and nothing else: repositories, services and containers by label, images by reference,
service accounts by their description, which carries the label's text.

`find` is the dry run. `remove` takes what `find` gave.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import docker
import docker.errors
from google.api_core import exceptions
from google.cloud import artifactregistry_v1

from helpers import names, rest
from helpers.target import LABEL, Target

_RUN: Final = "apis/serving.knative.dev/v1/namespaces"
_IAM: Final = "https://iam.googleapis.com/v1"


@dataclass(frozen=True, order=True)
class Leftover:
    """One thing that a run created: a container (by id), an image (by reference), a repository or a service account
    (by resource name), a Cloud Run service (by its address in the API)."""

    kind: Literal["container", "image", "repository", "service", "service account"]
    name: str
    detail: str = ""


def find(here: Target) -> tuple[Leftover, ...]:
    """Everything that the run of `here` created and that is still there. Changes nothing.

    Raises google.api_core.exceptions.GoogleAPICallError, and docker.errors.DockerException when no engine answers.
    """
    repositories = find_repositories(here)
    return (*find_local(here, repositories), *repositories, *find_services(here), *find_accounts(here))


def find_repositories(here: Target) -> tuple[Leftover, ...]:
    """The repositories with the run's label; none where the API isn't enabled."""
    client = artifactregistry_v1.ArtifactRegistryClient(transport="rest")
    try:
        listed = [
            one for one in client.list_repositories(parent=here.location.resource) if one.labels.get(LABEL) == here.run
        ]
    except (exceptions.Forbidden, exceptions.NotFound):
        return ()
    return tuple(Leftover("repository", one.name, f"{one.size_bytes} bytes") for one in listed)


def find_services(here: Target) -> tuple[Leftover, ...]:
    """The Cloud Run services with the run's label; none where the API isn't enabled."""
    url = f"https://{here.location}-run.googleapis.com/{_RUN}/{here.location.project}/services"
    try:
        found = rest.call("GET", url, params={"labelSelector": f"{LABEL}={here.run}"})
    except exceptions.Forbidden:
        return ()
    return tuple(
        Leftover("service", f"{url}/{one['metadata']['name']}", one.get("status", {}).get("url", ""))
        for one in found.get("items", [])
    )


def find_accounts(here: Target) -> tuple[Leftover, ...]:
    """The service accounts whose description is the run's label; none where the API isn't enabled."""
    url = f"{_IAM}/{here.location.project.resource}/serviceAccounts"
    found: list[Leftover] = []
    page = ""
    try:
        while True:
            answer = rest.call("GET", url, params={"pageSize": "100"} | ({"pageToken": page} if page else {}))
            found += [
                Leftover("service account", one["name"], one.get("displayName", ""))
                for one in answer.get("accounts", [])
                if one.get("description") == f"{LABEL}={here.run}"
            ]
            page = answer.get("nextPageToken", "")
            if not page:
                return tuple(found)
    except exceptions.Forbidden:
        return ()


def find_local(here: Target, repositories: Iterable[Leftover] = ()) -> tuple[Leftover, ...]:
    """The run's containers, and the references of images that begin with a name that only this run uses."""
    prefixes = list(here.owned_prefixes)
    for one in repositories:
        repository = names.Repository.parse(one.name)
        prefixes += [f"{repository}/", f"{here.docker_name(repository)}/"]
    found: list[Leftover] = []
    with contextlib.closing(docker.from_env()) as client:
        for container in client.containers.list(all=True, filters={"label": f"{LABEL}={here.run}"}):
            found.append(Leftover("container", str(container.id), str(container.name)))
        for image in client.api.images():
            references = [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]
            for reference in references:
                if reference.startswith(tuple(prefixes)):
                    found.append(Leftover("image", reference, str(image["Id"])))
    return tuple(sorted(set(found)))


def remove(leftovers: Iterable[Leftover]) -> tuple[Leftover, ...]:
    """Remove them, containers first; gives those that were there. What is gone already is no error."""
    removed = []
    with contextlib.closing(docker.from_env()) as client:
        for one in sorted(leftovers):
            with contextlib.suppress(docker.errors.NotFound, exceptions.NotFound):
                match one.kind:
                    case "container":
                        client.containers.get(one.name).remove(force=True, v=True)
                    case "image":
                        # Without noprune the engine would delete the parents too, which are the next build's cache.
                        client.images.remove(one.name, noprune=True)
                    case "repository":
                        _delete(one.name)
                    case "service":
                        rest.call("DELETE", one.name)
                    case "service account":
                        rest.call("DELETE", f"{_IAM}/{one.name}")
                removed.append(one)
    return tuple(removed)


def _delete(resource: str) -> None:
    operation = artifactregistry_v1.ArtifactRegistryClient(transport="rest").delete_repository(name=resource)
    operation.result(timeout=120)  # type: ignore[no-untyped-call]
