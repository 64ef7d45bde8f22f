"""Attach documents to an image: OCI artifacts whose `subject` is the image.

OCI image-spec 1.1 manifest.md, "Guidelines for Artifact Usage".
"""

from __future__ import annotations

import json
import sqlite3
from typing import Final

from sandbox.artifact_registry import blobs, catalog
from sandbox.artifact_registry.media_types import OCI_EMPTY, OCI_MANIFEST
from sandbox.state.world import World

_EMPTY: Final = b"{}"


def place(world: World, media_type: str, content: bytes, image: catalog.Version, created: str) -> bytes:
    """Store an attachment's blobs, and return its manifest. Blocking; call it before the transaction."""
    own, empty = blobs.digest_of(content), blobs.digest_of(_EMPTY)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": media_type,
            "config": {"mediaType": OCI_EMPTY, "digest": empty, "size": len(_EMPTY)},
            "layers": [{"mediaType": media_type, "digest": own, "size": len(content)}],
            "subject": {"mediaType": image.media_type, "digest": image.digest, "size": image.manifest_size},
            "annotations": {"org.opencontainers.image.created": created},
        }
    ).encode()
    for name, data in ((own, content), (empty, _EMPTY), (blobs.digest_of(manifest), manifest)):
        blobs.store(world, data, name)
    return manifest


def record(
    rows: sqlite3.Connection, world: World, media_type: str, content: bytes, image: catalog.Version, manifest: bytes
) -> None:
    """Add the rows of an attachment whose blobs are stored, in an open transaction. Idempotent."""
    own, empty, digest = blobs.digest_of(content), blobs.digest_of(_EMPTY), blobs.digest_of(manifest)
    for name, size in ((own, len(content)), (empty, len(_EMPTY)), (digest, len(manifest))):
        blobs.record(rows, world, image.repository, name, size)
    version = catalog.Version(
        repository=image.repository,
        package=image.package,
        digest=digest,
        media_type=OCI_MANIFEST,
        artifact_type=media_type,
        subject=image.digest,
        size=len(content) + len(_EMPTY),
        manifest_size=len(manifest),
        annotations=json.loads(manifest)["annotations"],
        build_time="",
        create_time="",
        update_time="",
    )
    catalog.put_version(rows, world, version, blobs=[own, empty])
