"""Repositories and their images, through Google's client over REST."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from google.api_core import exceptions
from google.cloud.artifactregistry_v1 import types

from helpers import names, registry
from helpers.transport import clients

_NEVER_SCANNED: Final = types.Repository.VulnerabilityScanningConfig(enablement_config="DISABLED")


@dataclass(frozen=True)
class StoredImage:
    """One version of an image as the API lists it, with its stored (compressed) size in bytes."""

    image: names.Digest
    tags: tuple[str, ...]
    size: int
    media_type: str
    uploaded: datetime


def create(
    repository: names.Repository,
    *,
    description: str = "",
    labels: Mapping[str, str] | None = None,
    immutable_tags: bool = False,
    scanning: bool = True,
    seconds: float = 120.0,
) -> types.Repository:
    """Create a Docker repository and wait until it exists. Without `scanning` its images are never scanned.

    Raises google.api_core.exceptions.Conflict when the name is taken (over REST, not its subclass AlreadyExists),
    Forbidden without the right or the API.
    """
    wanted = types.Repository(
        format_=types.Repository.Format.DOCKER,
        description=description,
        labels=dict(labels or {}),
        docker_config=types.Repository.DockerRepositoryConfig(immutable_tags=immutable_tags),
    )
    if not scanning:
        wanted.vulnerability_scanning_config = _NEVER_SCANNED
    operation = clients.artifact_registry().create_repository(
        parent=repository.location.resource, repository=wanted, repository_id=repository.id
    )
    created: types.Repository = operation.result(timeout=seconds)  # type: ignore[no-untyped-call]
    return created


def describe(repository: names.Repository) -> types.Repository:
    """Return Google's message of the repository. Raises google.api_core.exceptions.NotFound."""
    return clients.artifact_registry().get_repository(name=repository.resource)


def exists(repository: names.Repository) -> bool:
    """Return whether the repository exists. Other refusals (a disabled API, a missing permission) are raised."""
    try:
        describe(repository)
    except exceptions.NotFound:
        return False
    return True


def list_in(location: names.Location) -> tuple[types.Repository, ...]:
    """Return a location's repositories in Google's order. Raises google.api_core.exceptions.GoogleAPICallError."""
    return tuple(clients.artifact_registry().list_repositories(parent=location.resource))


def delete(repository: names.Repository, *, seconds: float = 120.0) -> None:
    """Delete the repository and every image in it. Raises google.api_core.exceptions.NotFound."""
    clients.artifact_registry().delete_repository(name=repository.resource).result(timeout=seconds)  # type: ignore[no-untyped-call]


def layer_sizes(tag: names.Tag) -> dict[str, int]:
    """Return the stored bytes of each layer by digest. An index stands for its linux/amd64 image.

    Raises registry.RegistryRefused.
    """
    return dict(registry.image_manifest(tag).layers)


def images(repository: names.Repository) -> tuple[StoredImage, ...]:
    """Return all versions of all images, oldest upload first. Raises google.api_core.exceptions.GoogleAPICallError."""
    found = [
        StoredImage(
            image=names.Digest.parse(item.uri),
            tags=tuple(sorted(item.tags)),
            size=int(item.image_size_bytes),
            media_type=item.media_type,
            uploaded=item.upload_time,
        )
        for item in clients.artifact_registry().list_docker_images(parent=repository.resource)
    ]
    return tuple(sorted(found, key=lambda one: (one.image.image, one.uploaded, one.image.value)))
