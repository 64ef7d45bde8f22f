"""artifactregistry.googleapis.com v1, as far as repositories of images and of packages go."""

from sandbox.api.methods import Api, ordered
from sandbox.artifact_registry import (
    docker_images,
    files,
    generic_artifacts,
    locations,
    maven_artifacts,
    npm_packages,
    operations,
    packages,
    project_settings,
    python_packages,
    repositories,
    tags,
    versions,
)

_NOUNS = (
    locations,
    operations,
    project_settings,
    repositories,
    packages,
    versions,
    tags,
    docker_images,
    npm_packages,
    python_packages,
    maven_artifacts,
    generic_artifacts,
    files,
)
API = Api(
    "artifactregistry.googleapis.com",
    "Artifact Registry API",
    ordered(method for noun in _NOUNS for method in noun.METHODS),
    regional=True,
)
