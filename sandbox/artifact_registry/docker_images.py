"""`repositories.dockerImages`: the versions of images.

Source: facts/artifact-registry.md 1.4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sandbox.api import lists
from sandbox.api.methods import Call
from sandbox.artifact_registry import blobs, catalog, repositories
from sandbox.artifact_registry.media_types import INDEXES
from sandbox.artifact_registry.names import REPOSITORY_PATH, escape, method, unescape
from sandbox.errors import invalid, not_found
from sandbox.state.world import World

# Fields of the message ImageManifest, and of an index's platform (image-spec 1.1 image-index.md)
_PLATFORM = {
    "architecture": "architecture",
    "os": "os",
    "osVersion": "os.version",
    "osFeatures": "os.features",
    "variant": "variant",
}


def metadata(version: catalog.Version) -> dict[str, Any]:
    """Return the fields that Version.metadata and DockerImage share."""
    answer = {
        "name": f"{version.repository}/dockerImages/{escape(version.package)}@{version.digest}",
        "imageSizeBytes": str(version.size),
        "mediaType": version.media_type,
        "buildTime": version.build_time,
        "artifactType": version.artifact_type,
    }
    return {key: value for key, value in answer.items() if value}


def _manifests(world: World, version: catalog.Version) -> list[dict[str, Any]]:
    """Return an entry for each manifest of a multi-platform image; none for an image of one platform."""
    if version.media_type not in INDEXES:
        return []
    try:
        body = json.loads(blobs.read(world, version.digest))
    except FileNotFoundError:
        # Damaged, or collected since the row was read: the rest of the list is still valid.
        return []
    return [_manifest(entry) for entry in body["manifests"]]


def _manifest(entry: Mapping[str, Any]) -> dict[str, Any]:
    platform = entry.get("platform")
    platform = platform if isinstance(platform, dict) else {}
    answer = {"digest": entry["digest"], "mediaType": entry.get("mediaType", "")}
    for name, key in _PLATFORM.items():
        # A client can push a value of any type here; one of the wrong type is omitted.
        value = platform.get(key)
        is_list = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if is_list if name == "osFeatures" else isinstance(value, str):
            answer[name] = value
    return {key: value for key, value in answer.items() if value}


def _render(world: World, version: catalog.Version, repository: catalog.Repository) -> dict[str, Any]:
    answer: dict[str, Any] = metadata(version) | {
        "uri": f"{repository.uri}/{version.package}@{version.digest}",
        "uploadTime": version.create_time,
        "updateTime": version.update_time,
    }
    if version.tags:
        answer["tags"] = list(version.tags)
    if manifests := _manifests(world, version):
        answer["imageManifests"] = manifests
    return answer


def _list(call: Call) -> dict[str, Any]:
    repository = repositories.of_format(call, "DOCKER")
    source = lists.Source(
        "SELECT * FROM versions WHERE repository = ?",
        (repository.name,),
        ("package", "digest"),
        {"upload_time": "create_time", "update_time": "update_time", "image_size_bytes": "size"},
    )
    with call.world.reading() as rows:
        found, token = lists.read(rows, source, call.query)
        images = [_render(call.world, version, repository) for version in catalog.with_tags(rows, found)]
    return lists.answer("dockerImages", images, token)


def _get(call: Call) -> dict[str, Any]:
    repository = repositories.of_format(call, "DOCKER")
    package, _, digest = call.params["image"].rpartition("@")
    if not package:
        # The name needs a digest; this is how Google refuses a tag (googleapis/google-cloud-java#9567).
        raise invalid("Request contains an invalid argument.")
    with call.world.reading() as rows:
        version = catalog.find_version(rows, repository.name, unescape(package), digest)
        if version is None:
            raise not_found()
        return _render(call.world, version, repository)


METHODS = (
    method("dockerImages.list", "GET", REPOSITORY_PATH + "/dockerImages", _list, "dockerimages.list"),
    method("dockerImages.get", "GET", REPOSITORY_PATH + "/dockerImages/{image}", _get, "dockerimages.get"),
)
