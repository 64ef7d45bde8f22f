"""Referrers of a manifest, such as signatures and bills of materials.

Artifact Registry has the referrers API, and also creates a tag `sha256-<digest>` in the package, as users report
(notation's issue 1222, 2025), for clients that don't support the API. unverified: what the tag points to; here it is
the index of the specification's "Referrers Tag Schema", which each push updates.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from starlette.responses import Response

from sandbox.artifact_registry import blobs, catalog
from sandbox.artifact_registry.blobs import check_digest
from sandbox.artifact_registry.catalog import Repository, Version
from sandbox.artifact_registry.media_types import OCI_INDEX
from sandbox.oci.address import RegistryCall
from sandbox.oci.rights import DOWNLOAD, enter
from sandbox.oci.token import Caller
from sandbox.state.world import World


def exist(rows: sqlite3.Connection, repository: str, package: str, digest: str) -> bool:
    """Return whether a manifest has referrers."""
    statement = "SELECT 1 FROM versions WHERE repository = ? AND package = ? AND subject = ? LIMIT 1"
    return rows.execute(statement, (repository, package, digest)).fetchone() is not None


def _described(
    rows: sqlite3.Connection, repository: str, package: str, digest: str, wanted: str | None = None
) -> list[dict[str, Any]]:
    found = rows.execute(
        "SELECT media_type, digest, manifest_size, artifact_type, annotations FROM versions"
        " WHERE repository = ? AND package = ? AND subject = ? AND subject != '' ORDER BY create_time, digest",
        (repository, package, digest),
    )
    manifests: list[dict[str, Any]] = []
    for row in found:
        if wanted and row["artifact_type"] != wanted:
            continue
        entry = {"mediaType": row["media_type"], "digest": row["digest"], "size": row["manifest_size"]}
        if row["artifact_type"]:
            entry["artifactType"] = row["artifact_type"]
        if annotations := json.loads(row["annotations"]):
            entry["annotations"] = annotations
        manifests.append(entry)
    return manifests


def publish(world: World, repository: Repository, package: str, subject: str) -> None:
    """Point the tag `sha256-<digest>` to an index of a manifest's referrers. Blocking; call outside a transaction."""
    tag = subject.replace(":", "-")
    while True:
        with world.reading() as rows:
            listed = _described(rows, repository.name, package, subject)
        content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
        digest = blobs.digest_of(content)
        blobs.store(world, content, digest)
        with world.writing() as rows:
            if _described(rows, repository.name, package, subject) != listed:
                continue  # another push has changed the list
            last = catalog.find_tag(rows, repository.name, package, tag)
            if not listed or last == digest:
                return
            blobs.record(rows, world, repository.name, digest, len(content))
            catalog.put_version(rows, world, _index(repository, package, digest, len(content)))
            # This tag can move even if tags are immutable.
            catalog.drop_referrers_index(rows, repository.name, package, subject)
            catalog.set_tag(rows, world, repository, package, tag, digest)
            return


def _index(repository: Repository, package: str, digest: str, size: int) -> Version:
    return Version(
        repository=repository.name,
        package=package,
        digest=digest,
        media_type=OCI_INDEX,
        artifact_type=catalog.REFERRERS_INDEX,
        subject="",
        size=0,
        manifest_size=size,
        annotations={},
        build_time="",
        create_time="",
        update_time="",
    )


def list_referrers(call: RegistryCall, caller: Caller) -> Response:
    """Handle GET /v2/<name>/referrers/<digest>. Spec: "Listing Referrers"."""
    repository = enter(call.world, caller.principal, call.image, DOWNLOAD)
    digest = check_digest(call.reference)
    wanted = call.query.get("artifactType")
    with call.world.reading() as rows:
        manifests = _described(rows, repository.name, call.image.package, digest, wanted)
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    headers = {"Content-Type": OCI_INDEX}
    if wanted:
        headers["OCI-Filters-Applied"] = "artifactType"
    return Response(json.dumps(body), headers=headers)
