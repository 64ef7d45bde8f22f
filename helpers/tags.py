"""Tags through Google's API: where they point, point one elsewhere, remove one. No image travels."""

from __future__ import annotations

from google.api_core import exceptions
from google.cloud.artifactregistry_v1 import types

from helpers import names
from helpers.transport import clients


def where(image: names.Image) -> dict[str, names.Digest]:
    """Tag → version of every tag of an image. Raises google.api_core.exceptions.GoogleAPICallError."""
    client = clients.artifact_registry()
    return {
        tag.name.rpartition("/tags/")[2]: image.digest(tag.version.rpartition("/")[2])
        for tag in client.list_tags(parent=image.resource)
    }


def point(tag: names.Tag, digest: names.Digest) -> None:
    """Make a tag, or move the one that is there, to a version of the same image.

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
    """Remove a tag; the version stays. False when it wasn't there. Raises BadRequest on immutable tags."""
    try:
        clients.artifact_registry().delete_tag(name=tag.resource)
    except exceptions.NotFound:
        return False
    return True
