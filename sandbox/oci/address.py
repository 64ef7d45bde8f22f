"""The endpoint that a request used, and the image in its path."""

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
        host: Google's name of the registry, `us-central1-docker.pkg.dev`; empty if the path has none.
        path: the decoded path without the host: `/v2/P/R/I/manifests/T`.
        base: the beginning of a Location and of the realm, without a final slash: `http://localhost:5001`.
        prefix: empty, or `us-central1-docker.pkg.dev/` if names in Locations and scopes have the host.
    """

    host: str
    path: str
    base: str
    prefix: str


@dataclass(frozen=True)
class RegistryCall:
    """One request for an image.

    Attributes:
        service: the request's `host[:port]`.
        reference: a tag, a digest or an upload's id; may be empty.
        kind: of the `Route`: blobs, manifests, tags.
        content: the body, if the handler does not stream it.
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
    """Return the image `P/R/I` on a host. Its package is empty for `P/R`.

    Raises:
        RegistryError: NAME_UNKNOWN for a host that Artifact Registry does not have, NAME_INVALID for a malformed name.
    """
    location = location_of(host)
    if location is None:
        # The messages are the sandbox's own: on Google every host that answers is a registry's. Not NAME_INVALID,
        # since docker would retry for 50 seconds.
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
    """Return the host and `P/R/I` of a name in a scope or in `from=`, which has the host if paths have it.

    At the plain port's `/v2/token` the address has no host, so the name's is used.
    """
    if address.host and not address.prefix:
        return address.host, name
    host, _, rest = name.partition("/")
    return host, rest
