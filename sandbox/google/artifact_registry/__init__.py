"""artifactregistry.googleapis.com v1, as far as Docker repositories go."""

from sandbox.google.artifact_registry import locations, repositories, versions
from sandbox.methods import Api, ordered

API = Api(
    "artifactregistry.googleapis.com",
    "Artifact Registry API",
    ordered((*locations.METHODS, *repositories.METHODS, *versions.METHODS)),
    regional=True,
)
