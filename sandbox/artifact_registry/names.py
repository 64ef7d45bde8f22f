"""Names inside a repository, and the methods on them.

Source: facts/artifact-registry.md 1.2. Slashes inside a package's id are `%2F` in its name; on the wire the name is
escaped once more, so a path that was decoded once carries the id as it is in the name.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from sandbox.api.methods import Answer, Call, Method

TYPE = "type.googleapis.com/google.devtools.artifactregistry.v1"
REPOSITORIES = "/v1/projects/{project}/locations/{location}/repositories"
RESOURCE = "projects/{project}/locations/{location}/repositories/{repository}"
REPOSITORY_PATH = REPOSITORIES + "/{repository}"
PACKAGE_PATH = REPOSITORY_PATH + "/packages/{package}"
ID_PREFIX = "artifactregistry.projects.locations.repositories"


def escape(package: str) -> str:
    """`team/nested` as it is in a resource name: `team%2Fnested`."""
    return package.replace("%", "%25").replace("/", "%2F")


def escape_file(name: str) -> str:
    """Return a file's name as it is in a resource name: gcloud's command_lib/artifacts/file_util.py."""
    return escape(name).replace("+", "%2B").replace("^", "%5E")


def unescape(package: str) -> str:
    """Return the inverse of `escape`."""
    return unquote(package)


def package_name(repository: str, package: str) -> str:
    """Resource name of a package."""
    return f"{repository}/packages/{escape(package)}"


def version_name(repository: str, package: str, digest: str) -> str:
    """Resource name of a version."""
    return f"{package_name(repository, package)}/versions/{escape(digest)}"


def method(name: str, verb: str, path: str, handle: Callable[[Call], Answer], *permissions: str) -> Method:
    """Return a method on something inside a repository; its permissions lack `artifactregistry.` in front."""
    needed = tuple(f"artifactregistry.{permission}" for permission in permissions)
    return Method(f"{ID_PREFIX}.{name}", verb, path, handle, needed, RESOURCE)
