"""Where a request goes: the endpoint that it used, and the image that its path names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import Headers, QueryParams

from sandbox.artifact_registry.image_names import Image, location_of
from sandbox.errors import RegistryError
from sandbox.state.world import World

MISSING_IMAGE = "Missing image name. Pushes should be of the form docker push HOST-NAME/PROJECT-ID/REPOSITORY/IMAGE"

# OCI Distribution 1.1, "Pulling manifests": one component of <name>.
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_NAME_LIMIT = 255  # characters; the specification's remark on clients' limits


@dataclass(frozen=True)
class Address:
    """The endpoint that a request used.

    Attributes:
        host: Google's name of the registry, `us-central1-docker.pkg.dev`; empty where the path names none.
        path: the decoded path without the host: `/v2/P/R/I/manifests/T`.
        base: what a Location and the realm start with, without a slash at the end: `http://localhost:5001`.
        prefix: empty, or `us-central1-docker.pkg.dev/`: what comes before `P/R/I` in Locations and scopes.
    """

    host: str
    path: str
    base: str
    prefix: str


@dataclass(frozen=True)
class Ask:
    """One request that names an image.

    Attributes:
        service: the request's `host[:port]`.
        reference: what follows in the path: a tag, a digest or an upload's id; may be empty.
        kind: what the path asks for, as the router calls it: blobs, manifests, tags.
        content: the body, where a handler takes it whole.
    """

    world: World
    address: Address
    service: str
    image: Image
    method: str
    headers: Headers
    query: QueryParams
    reference: str = ""
    content: bytes = b""
    kind: str = ""

    def location(self, rest: str) -> str:
        """Return an absolute Location on the endpoint that the request used."""
        return f"{self.address.base}/v2/{self.address.prefix}{self.image.path}/{rest}"


def image_of(host: str, name: str) -> Image:
    """Return the image behind `P/R/I` on a host; the package stays empty for `P/R`.

    Raises:
        RegistryError: NAME_UNKNOWN for a host that Artifact Registry does not have, NAME_INVALID for a malformed name.
    """
    location = location_of(host)
    if location is None:
        # Sentences of the sandbox's own: on Google every host that answers is a registry's. Not NAME_INVALID, which
        # docker tries again for 50 seconds.
        named = (host or name).partition("/")[0]
        if named.endswith("gcr.io"):
            raise RegistryError("NAME_UNKNOWN", f"The workbook's sandbox does not do this: images of {named[:80]}")
        raise RegistryError(
            "NAME_UNKNOWN",
            f"{host or 'The name'} does not start with an Artifact Registry host. Put it first, for example "
            "localhost:PORT/us-central1-docker.pkg.dev/PROJECT-ID/REPOSITORY/IMAGE",
        )
    parts = name.split("/")
    if len(name) > _NAME_LIMIT or not all(_COMPONENT.fullmatch(part) for part in parts):
        raise RegistryError("NAME_INVALID", f"Invalid image name {name[:200]!r}")
    if len(parts) < 2:
        raise RegistryError("NAME_INVALID", MISSING_IMAGE)
    return Image(location, parts[0], parts[1], "/".join(parts[2:]))


def split_host(address: Address, name: str) -> tuple[str, str]:
    """Host and `P/R/I` of a name in a scope or in `from=`, which has the host in front where the path has.

    On the plain port's `/v2/token` the address has no host, so the name brings it.
    """
    if address.host and not address.prefix:
        return address.host, name
    host, _, rest = name.partition("/")
    return host, rest
