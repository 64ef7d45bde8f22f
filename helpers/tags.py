"""Read, move and remove tags through Google's API, without transferring images."""

from __future__ import annotations

from google.api_core import exceptions
from google.cloud.artifactregistry_v1 import types

from helpers import names
from helpers.transport import clients


def where(image: names.Image) -> dict[str, names.Digest]:
    """Return the version of each tag of an image. Raises google.api_core.exceptions.GoogleAPICallError."""
    client = clients.artifact_registry()
    return {
        tag.name.rpartition("/tags/")[2]: image.digest(tag.version.rpartition("/")[2])
        for tag in client.list_tags(parent=image.resource)
    }


def point(tag: names.Tag, digest: names.Digest) -> None:
    """Create a tag, or move an existing one, to a version of the same image.

    Raises google.api_core.exceptions.NotFound without that version, BadRequest where tags are immutable.
    """
    client = clients.artifact_registry()
    wanted = types.Tag(name=tag.resource, version=digest.resource)
    try:
        client.get_tag(name=tag.resource)
    except exceptions.NotFound:
        client.create_tag(parent=tag.image.resource, tag_id=tag.name, tag=wanted)
    else:
        client.update_tag(tag=wanted, update_mask={"paths": ["version"]})


def remove(tag: names.Tag) -> bool:
    """Remove a tag, but not its version. Return False if it didn't exist. Raises BadRequest for immutable tags."""
    try:
        clients.artifact_registry().delete_tag(name=tag.resource)
    except exceptions.NotFound:
        return False
    return True
