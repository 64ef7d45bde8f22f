"""artifactregistry.googleapis.com v1: the methods on repositories of images and of packages."""

from sandbox.api.methods import Api, ordered
from sandbox.artifact_registry import (
    docker_images,
    files,
    format_versions,
    generic_artifacts,
    locations,
    operations,
    packages,
    project_settings,
    repositories,
    tags,
    versions,
)

_COLLECTIONS = (
    locations,
    operations,
    project_settings,
    repositories,
    packages,
    versions,
    tags,
    docker_images,
    format_versions,
    generic_artifacts,
    files,
)
API = Api(
    "artifactregistry.googleapis.com",
    "Artifact Registry API",
    ordered(method for collection in _COLLECTIONS for method in collection.METHODS),
    regional=True,
)
