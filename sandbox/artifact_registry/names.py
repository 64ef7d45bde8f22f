"""Resource names inside a repository, and the methods on them.

Source: facts/artifact-registry.md 1.2. A slash in a package's id is `%2F` in its resource name. Clients escape the name
again in URLs, so a path that was decoded once contains the escaped id.
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
    """Return the id of a package as in a resource name: `team/nested` becomes `team%2Fnested`."""
    return package.replace("%", "%25").replace("/", "%2F")


def escape_file(name: str) -> str:
    """Return the name of a file as in a resource name: gcloud's command_lib/artifacts/file_util.py."""
    return escape(name).replace("+", "%2B").replace("^", "%5E")


def unescape(package: str) -> str:
    """Return the inverse of `escape`."""
    return unquote(package)


def package_name(repository: str, package: str) -> str:
    """Return the resource name of a package."""
    return f"{repository}/packages/{escape(package)}"


def version_name(repository: str, package: str, digest: str) -> str:
    """Return the resource name of a version."""
    return f"{package_name(repository, package)}/versions/{escape(digest)}"


def method(name: str, verb: str, path: str, handle: Callable[[Call], Answer], *permissions: str) -> Method:
    """Return a method on a resource in a repository; `permissions` are without the prefix `artifactregistry.`."""
    needed = tuple(f"artifactregistry.{permission}" for permission in permissions)
    return Method(f"{ID_PREFIX}.{name}", verb, path, handle, needed, RESOURCE)
