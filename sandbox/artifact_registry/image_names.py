"""Names of images, `us-central1-docker.pkg.dev/P/R/I:TAG@sha256:…`, and the hosts that they start with. Pure.

A location has two: `us-central1-docker.pkg.dev`, and the regional endpoint `docker.us-central1.rep.pkg.dev`
(facts/artifact-registry.md 2). Both name the same repositories; the first is the one that names are written with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HOST = r"(?:(?P<location>[a-z0-9-]+)-docker|docker\.(?P<endpoint>[a-z0-9-]+)\.rep)\.pkg\.dev"
_IMAGE = re.compile(
    _HOST + r"/(?P<project>[a-z0-9-]+)/(?P<repository>[a-z0-9-]+)/(?P<package>[a-z0-9._/-]+?)"
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
        """`P/R/I`, as Google writes it."""
        return "/".join(filter(None, (self.project, self.repository_id, self.package)))

    @property
    def key(self) -> str:
        """`us-central1-docker.pkg.dev/P/R/I`, whichever host the name was given with."""
        return f"{host_of(self.location)}/{self.path}"


def host_of(location: str) -> str:
    """Return the registry host of a location, `us-central1-docker.pkg.dev`."""
    return f"{location}-docker.pkg.dev"


def location_of(host: str) -> str | None:
    """Return `us-central1` of either host of that location, and None for a host that is not Artifact Registry's."""
    match = re.fullmatch(_HOST, host)
    return (match["location"] or match["endpoint"]) if match else None


def parse(name: str) -> Image | None:
    """Return the image that a full name stands for, or None if it is not the name of an image in Artifact Registry."""
    match = _IMAGE.fullmatch(name)
    if match is None:
        return None
    location = match["location"] or match["endpoint"]
    parts = (match["project"], match["repository"], match["package"])
    return Image(location, *parts, match["tag"] or "", match["digest"] or "")


def through(registry: str, name: str) -> str:
    """Return the name under which an engine finds an image at the sandbox; other registries' names stay as they are.

    Args:
        registry: the sandbox's address, `localhost:5001`.
    """
    return f"{registry}/{name}" if location_of(name.partition("/")[0]) else name
