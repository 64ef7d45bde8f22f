"""Where a request goes: the host that it names, and the repository that its path begins with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.artifact_registry import formats
from sandbox.package_hosts.refusals import PackageRefusal

_PATH = re.compile(r"/(?P<project>[a-z][a-z0-9-]{4,29})/(?P<repository>[a-z][a-z0-9-]{0,62})(?P<rest>/.*)?")


@dataclass(frozen=True)
class Address:
    """One repository, and what the path names in it.

    Attributes:
        format: PYTHON, …
        host: `us-central1-python.pkg.dev`.
        base: what an address on the endpoint that the request used begins with: `https://us-central1-python.pkg.dev`.
        rest: the decoded path after the repository, with its first slash; empty where the path ends before it.
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
    """Return where a path on a format's host goes.

    Args:
        base: origin, and on the plain port the host after it.

    Raises:
        PackageRefusal: 404 where the path names no repository.
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
