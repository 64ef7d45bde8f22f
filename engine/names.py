"""References to images, `[host/]path[:tag][@digest]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.errors import bad_request

DOCKER_HUB = "docker.io"
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::\d+)?")


@dataclass(frozen=True)
class Reference:
    """A parsed reference. `tag` and `digest` may be empty."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """The name without tag and digest, in the short form that docker shows."""
        if self.host != DOCKER_HUB:
            return f"{self.host}/{self.path}"
        return self.path.removeprefix("library/")

    @property
    def tagged(self) -> str:
        """The name with its tag, by default `latest`."""
        return f"{self.repository}:{self.tag or 'latest'}"

    @property
    def digested(self) -> str:
        """The name with its digest."""
        return f"{self.repository}@{self.digest}"

    def __str__(self) -> str:
        return self.digested if self.digest else self.tagged


def parse(text: str) -> Reference:
    """Parse a reference. Raises Refused if it is invalid."""
    rest, _, digest = text.partition("@")
    if digest and not _DIGEST.fullmatch(digest):
        raise bad_request("invalid reference format")
    host, slash, path = rest.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = DOCKER_HUB, rest
    if host == "index.docker.io":
        host = DOCKER_HUB
    path, colon, tag = path.partition(":")
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    if not _PATH.fullmatch(path):
        if _PATH.fullmatch(path.lower()):
            raise bad_request("invalid reference format: repository name must be lowercase")
        raise bad_request("invalid reference format")
    if (colon and not _TAG.fullmatch(tag)) or not _HOST.fullmatch(host):
        raise bad_request("invalid reference format")
    return Reference(host, path, tag, digest)
