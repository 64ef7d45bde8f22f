"""Parse names of images, `us-central1-docker.pkg.dev/P/R/I:TAG@sha256:…`, and the hosts in them.

A location has two hosts: `us-central1-docker.pkg.dev`, and the regional endpoint `docker.us-central1.rep.pkg.dev`
(facts/artifact-registry.md 2). Both serve the same repositories; names are normally written with the first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.artifact_registry import formats

_PATH = re.compile(
    r"(?P<project>[a-z0-9-]+)/(?P<repository>[a-z0-9-]+)/(?P<package>[a-z0-9._/-]+?)"
    r"(?::(?P<tag>[\w][\w.-]*))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class Image:
    """An image, or with an empty package a repository.

    Attributes:
        package: with slashes, `team/nested`.
        tag: empty if the name has none.
        digest: `sha256:…`, empty if the name has none.
    """

    location: str
    project: str
    repository_id: str
    package: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Resource name `projects/P/locations/L/repositories/R`."""
        return f"projects/{self.project}/locations/{self.location}/repositories/{self.repository_id}"

    @property
    def path(self) -> str:
        """The path `P/R/I`."""
        return "/".join(filter(None, (self.project, self.repository_id, self.package)))

    @property
    def key(self) -> str:
        """The name `us-central1-docker.pkg.dev/P/R/I`, whichever host the original name had."""
        return f"{host_of(self.location)}/{self.path}"


def host_of(location: str) -> str:
    """Return the registry host of a location, `us-central1-docker.pkg.dev`."""
    return formats.host_of("DOCKER", location)


def location_of(host: str) -> str | None:
    """Return the location of either registry host, or None for a host that is not Artifact Registry's."""
    kind, location = formats.parse_host(host) or ("", "")
    return location if kind == "DOCKER" else None


def parse(name: str) -> Image | None:
    """Parse the full name of an image, or return None if the image is not in Artifact Registry."""
    host, _, path = name.partition("/")
    location, match = location_of(host), _PATH.fullmatch(path)
    if location is None or match is None:
        return None
    project, repository, package = match["project"], match["repository"], match["package"]
    return Image(location, project, repository, package, match["tag"] or "", match["digest"] or "")


def through(registry: str, name: str) -> str:
    """Return the name by which an engine pulls an image from the sandbox; names at other registries stay unchanged.

    Args:
        registry: the sandbox's address, `localhost:5001`.
    """
    return f"{registry}/{name}" if location_of(name.partition("/")[0]) else name
