"""Referrers: what was pushed about a manifest, such as signatures and bills of materials."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from sandbox.artifact_registry.blobs import check_digest
from sandbox.artifact_registry.media_types import OCI_INDEX
from sandbox.oci.address import Ask
from sandbox.oci.rights import DOWNLOAD, enter
from sandbox.oci.token import Caller


def list_referrers(ask: Ask, caller: Caller) -> Response:
    """GET /v2/<name>/referrers/<digest>. Spec: "Listing Referrers".

    A digest that nobody refers to has an empty list.
    """
    repository = enter(ask.world, caller.principal, ask.image, DOWNLOAD)
    digest = check_digest(ask.reference)
    wanted = ask.query.get("artifactType")
    with ask.world.reading() as rows:
        found = rows.execute(
            "SELECT media_type, digest, manifest_size, artifact_type, annotations FROM versions"
            " WHERE repository = ? AND package = ? AND subject = ? AND subject != '' ORDER BY create_time, digest",
            (repository.name, ask.image.package, digest),
        ).fetchall()
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
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    headers = {"Content-Type": OCI_INDEX}
    if wanted:
        headers["OCI-Filters-Applied"] = "artifactType"
    return Response(json.dumps(body), headers=headers)
