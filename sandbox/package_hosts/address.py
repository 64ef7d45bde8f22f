"""Parse the address of a request: the host names format and location, the path begins with the repository."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.artifact_registry import formats
from sandbox.package_hosts.refusals import PackageRefusal

_PATH = re.compile(r"/(?P<project>[a-z][a-z0-9-]{4,29})/(?P<repository>[a-z][a-z0-9-]{0,62})(?P<rest>/.*)?")


@dataclass(frozen=True)
class Address:
    """One repository, and the rest of the path, which names something in it.

    Attributes:
        format: for example PYTHON.
        host: for example `us-central1-python.pkg.dev`.
        base: the beginning of every address on the endpoint of the request: `https://us-central1-python.pkg.dev`.
        rest: the decoded path after the repository, with its first slash; empty if the path ends there.
    """

    format: str
    host: str
    base: str
    project: str
    location: str
    repository_id: str
    rest: str

    @property
    def repository(self) -> str:
        """Resource name."""
        return f"projects/{self.project}/locations/{self.location}/repositories/{self.repository_id}"

    @property
    def url(self) -> str:
        """The repository's address, without a slash at the end."""
        return f"{self.base}/{self.project}/{self.repository_id}"


def parse(host: str, base: str, path: str) -> Address:
    """Parse a path on the host of a format.

    Args:
        base: the origin; on the plain port, followed by the host.

    Raises:
        PackageRefusal: 404 if the path names no repository.
    """
    found = formats.parse_host(host)
    match = _PATH.fullmatch(path)
    if found is None or match is None:
        # unverified: the text
        raise PackageRefusal(404, "The path does not begin with PROJECT-ID/REPOSITORY/.")
    kind, location = found
    return Address(
        kind,
        formats.host_of(kind, location),
        base,
        match["project"],
        location,
        match["repository"],
        match["rest"] or "",
    )
