"""The formats of repositories, and the hosts of their clients.

A format has two hosts in each location: `us-central1-python.pkg.dev` and `python.us-central1.rep.pkg.dev`.
"""

from __future__ import annotations

import re

# Each format's part of the host name
HOSTS = {"DOCKER": "docker", "GENERIC": "generic", "MAVEN": "maven", "NPM": "npm", "PYTHON": "python"}
_BY_WORD = {word: kind for kind, word in HOSTS.items()}
_HOST = re.compile(
    r"(?:(?P<location>[a-z0-9-]+)-(?P<word>[a-z]+)|(?P<first>[a-z]+)\.(?P<endpoint>[a-z0-9-]+)\.rep)\.pkg\.dev"
)


def host_of(kind: str, location: str) -> str:
    """Return the host of a format in a location, `us-central1-python.pkg.dev`."""
    return f"{location}-{HOSTS[kind]}.pkg.dev"


def parse_host(host: str) -> tuple[str, str] | None:
    """Return the format and the location of a host, or None if it is not a host of any format."""
    match = _HOST.fullmatch(host)
    kind = _BY_WORD.get(match["word"] or match["first"]) if match else None
    return (kind, match["location"] or match["endpoint"]) if match and kind else None
