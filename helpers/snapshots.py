"""Read a snapshot of a repository through the public API: its versions, their tags and their blobs."""

from __future__ import annotations

from datetime import UTC, datetime

from helpers import names, policies, registry, target
from helpers.fates import Snapshot, Stored
from helpers.transport import clients


def read(repository: names.Repository, *, layers: bool = True) -> Snapshot:
    """Return a repository's versions with the contents of their manifests.

    Without `layers` only the manifests of indexes and attachments are read. That is faster for thousands of versions,
    but counts shared layers for each version. Raises google.api_core.exceptions.GoogleAPICallError and
    registry.RegistryRefused.
    """
    client = clients.artifact_registry()
    about = client.get_repository(name=repository.resource)
    listed = list(client.list_docker_images(request={"parent": repository.resource, "page_size": 1000}))
    wanted = [names.Digest.parse(one.uri) for one in listed]
    special = (registry.INDEX, registry.DOCKER_INDEX)
    found = registry.manifests(
        name
        for name, one in zip(wanted, listed, strict=True)
        if layers or one.media_type in special or one.artifact_type
    )
    parents: dict[tuple[str, str], list[str]] = {}
    for name, manifest in found.items():
        for child in manifest.children:
            parents.setdefault((name.image.path, child), []).append(name.value)
    versions = []
    for name, one in zip(wanted, listed, strict=True):
        read_one = found.get(name)
        blobs = (
            (*read_one.blobs.items(), (name.value, read_one.size))
            if read_one
            else ((name.value, one.image_size_bytes),)
        )
        versions.append(
            Stored(
                image=name.image.path,
                digest=name.value,
                uploaded=one.upload_time,
                tags=tuple(sorted(one.tags)),
                blobs=tuple(blobs),
                parents=tuple(parents.get((name.image.path, name.value), ())),
                attachment=bool(read_one and read_one.subject),
            )
        )
    return Snapshot(
        repository=str(repository),
        taken=now(),
        versions=tuple(versions),
        immutable_tags=about.docker_config.immutable_tags,
        in_force=policies.from_google(about.cleanup_policies),
        dry_run=about.cleanup_policy_dry_run,
        shared=layers,
    )


def now() -> datetime:
    """Return the target's time, since the sandbox has a clock of its own."""
    status = target.admin("status")
    return datetime.fromisoformat(status["time"]) if status else datetime.now(UTC)
