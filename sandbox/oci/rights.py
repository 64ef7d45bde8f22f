"""Check the caller's permissions at every operation, with refusals in Artifact Registry's words.

The messages were seen on the real service (docs/fidelity.md). The permission of each operation:
https://cloud.google.com/artifact-registry/docs/access-control
"""

from __future__ import annotations

from sandbox.api.principal import Principal
from sandbox.artifact_registry.catalog import Repository, find_repository
from sandbox.artifact_registry.image_names import Image
from sandbox.artifact_registry.repository_modes import STANDARD
from sandbox.errors import ApiError, RegistryError
from sandbox.iam import admission, policies, scopes
from sandbox.state import projects
from sandbox.state.projects import Project
from sandbox.state.world import World

SERVICE = "artifactregistry.googleapis.com"

DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
UPLOAD = "artifactregistry.repositories.uploadArtifacts"
DELETE_ARTIFACTS = "artifactregistry.repositories.deleteArtifacts"
DELETE_VERSION = "artifactregistry.versions.delete"
CREATE_TAG = "artifactregistry.tags.create"
UPDATE_TAG = "artifactregistry.tags.update"
DELETE_TAG = "artifactregistry.tags.delete"

# The actions in a token's scope, and the permission of each
ACTIONS = {"pull": DOWNLOAD, "push": UPLOAD, "delete": DELETE_ARTIFACTS}


def denied(principal: Principal, permission: str, resource: str) -> RegistryError:
    """Return the registry's 403, which differs for anonymous callers."""
    if principal.anonymous:
        return RegistryError(
            "DENIED",
            f'Unauthenticated request. Unauthenticated requests do not have permission "{permission}" on resource '
            f'"{resource}" (or it may not exist)',
        )
    # The wording since August 2026; docs/fidelity.md has the two earlier ones.
    return RegistryError(
        "DENIED", f"Permission '{permission}' denied on resource '//{SERVICE}/{resource}' (or it may not exist)."
    )


def may(world: World, principal: Principal, permission: str, image: Image) -> bool:
    """Return whether the caller has a permission on the image's repository, which need not exist."""
    return _may(world, principal, permission, image, projects.find(world, image.project))


def _may(world: World, principal: Principal, permission: str, image: Image, project: Project | None) -> bool:
    if project is None or project.id != image.project:
        return False
    if not scopes.allow(principal.scopes, SERVICE, reading=permission == DOWNLOAD):
        return False  # unverified: that the refusal is the same as for a missing permission
    return policies.decide(world, principal.member, permission, image.repository).allowed


def require(world: World, principal: Principal, permission: str, image: Image) -> None:
    """Raise DENIED unless the caller has the permission and the project has the API."""
    project = projects.find(world, image.project)
    if project is not None and not principal.anonymous:
        try:
            admission.require_api(world, project, SERVICE, "Artifact Registry API")
        except ApiError as error:
            # Signed-in callers get the API's message, as several reports show.
            raise RegistryError("DENIED", error.message) from None
    if not _may(world, principal, permission, image, project):
        raise denied(principal, permission, image.repository)


def enter(world: World, principal: Principal, image: Image, *permissions: str) -> Repository:
    """Return the image's repository, if the caller has every permission on it.

    Raises:
        RegistryError: DENIED; NAME_UNKNOWN if the caller has the permissions and the repository does not exist.
    """
    with world.reading() as rows:
        for permission in permissions:
            require(world, principal, permission, image)
        repository = find_repository(rows, image.repository)
    if repository is None or repository.message.get("format", "DOCKER") != "DOCKER":
        raise RegistryError("NAME_UNKNOWN", f'Repository "{image.repository_id}" not found')
    if UPLOAD in permissions and repository.mode != STANDARD:
        kind = repository.mode.partition("_")[0].lower()
        # unverified: code and message
        raise RegistryError("DENIED", f'"{repository.id}" is a {kind} repository: images are pushed to a standard one.')
    return repository
