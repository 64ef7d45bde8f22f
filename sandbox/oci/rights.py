"""Who may do what: the decision at every operation, and the refusals in Artifact Registry's words.

Texts: facts seen on the real service, collected in docs/fidelity.md; operation to permission:
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

# The actions of a token's scope and what each needs.
ACTIONS = {"pull": DOWNLOAD, "push": UPLOAD, "delete": DELETE_ARTIFACTS}


def denied(principal: Principal, permission: str, resource: str) -> RegistryError:
    """403 as the registry words it, for a known caller and for an anonymous one."""
    if principal.anonymous:
        return RegistryError(
            "DENIED",
            f'Unauthenticated request. Unauthenticated requests do not have permission "{permission}" on resource '
            f'"{resource}" (or it may not exist)',
        )
    # The form since August 2026; docs/fidelity.md has the two before it.
    return RegistryError(
        "DENIED", f"Permission '{permission}' denied on resource '//{SERVICE}/{resource}' (or it may not exist)."
    )


def may(world: World, principal: Principal, permission: str, image: Image) -> bool:
    """Whether the caller has a permission on the image's repository; the repository need not exist."""
    return _may(world, principal, permission, image, projects.find(world, image.project))


def _may(world: World, principal: Principal, permission: str, image: Image, project: Project | None) -> bool:
    if project is None or project.id != image.project:
        return False
    if not scopes.allow(principal.scopes, SERVICE, reading=permission == DOWNLOAD):
        return False  # unverified: that the refusal is the one of a missing right
    return policies.decide(world, principal.member, permission, image.repository).allowed


def require(world: World, principal: Principal, permission: str, image: Image) -> None:
    """Refuse unless the caller has the permission and the project has the API.

    Raises:
        RegistryError: DENIED.
    """
    project = projects.find(world, image.project)
    if project is not None and not principal.anonymous:
        try:
            admission.require_api(world, project, SERVICE, "Artifact Registry API")
        except ApiError as error:
            # In the API's words to whoever signed in, as several reports have it.
            raise RegistryError("DENIED", error.message) from None
    if not _may(world, principal, permission, image, project):
        raise denied(principal, permission, image.repository)


def enter(world: World, principal: Principal, image: Image, *permissions: str) -> Repository:
    """Return the image's repository, for a caller that has every permission on it.

    Raises:
        RegistryError: DENIED; NAME_UNKNOWN when the caller has the rights and the repository is not there.
    """
    with world.reading() as rows:
        for permission in permissions:
            require(world, principal, permission, image)
        repository = find_repository(rows, image.repository)
    if repository is None or repository.message.get("format", "DOCKER") != "DOCKER":
        raise RegistryError("NAME_UNKNOWN", f'Repository "{image.repository_id}" not found')
    if UPLOAD in permissions and repository.mode != STANDARD:
        kind = repository.mode.partition("_")[0].lower()
        # unverified: code and text
        raise RegistryError("DENIED", f'"{repository.id}" is a {kind} repository: images are pushed to a standard one.')
    return repository
