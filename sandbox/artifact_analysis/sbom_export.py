"""`projects.resources:exportSBOM` of Container Analysis: write the bill of materials of a pushed image.

Called by gcloud's `artifacts sbom export` (api_lib/containeranalysis/requests.py, v1beta1). Google writes an SPDX file
into a bucket of Cloud Storage, and an occurrence that refers to it. The sandbox does the same, and also attaches
CycloneDX and SPDX to the image as referrers.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sandbox.api.methods import Call, Method
from sandbox.artifact_analysis import attachments, automatic_scans, image_parts, sbom, sbom_reference
from sandbox.artifact_analysis import occurrences as grafeas
from sandbox.artifact_analysis.image_parts import NoImage
from sandbox.artifact_registry import catalog, image_names, integrity
from sandbox.cloud_storage import objects
from sandbox.errors import ApiError, invalid, not_found
from sandbox.iam import admission
from sandbox.scanner import inventory
from sandbox.scanner.inventory import Unsupported
from sandbox.scanner.limits import LimitExceeded
from sandbox.scanner.tar_reader import LayerUnreadable
from sandbox.state.clock import timestamp

_UPLOAD: Final = "artifactregistry.repositories.uploadArtifacts"
_FORMS: Final = ((sbom.CYCLONEDX, sbom.cyclonedx), (sbom.SPDX, sbom.spdx))


def _export(call: Call) -> dict[str, Any]:
    link = call.params["resource"]
    named = image_names.parse(link.removeprefix("https://")) if link.startswith("https://") else None
    if named is None or not named.digest or named.project != call.params["project"]:
        raise invalid(f"Invalid resource {link[:300]!r}: name an image of this project by digest.")
    name = named.repository
    # The bills become artifacts of the repository. unverified: which permissions Google checks
    admission.require(call, _UPLOAD, name, service="artifactregistry.googleapis.com")
    with call.world.reading() as rows:
        repository = catalog.find_repository(rows, name)
        image = catalog.find_version(rows, name, named.package, named.digest)
        if repository is None or image is None:
            raise not_found()
        try:
            parts = image_parts.find(call.world, rows, image)
        except NoImage as reason:
            raise ApiError("FAILED_PRECONDITION", f"There is no bill of materials: {reason}.") from None
    try:
        read = inventory.read([partial(_open, integrity.path_of(call.world, digest)) for digest in parts.layers])
    except (Unsupported, LayerUnreadable, LimitExceeded) as reason:
        raise ApiError("FAILED_PRECONDITION", f"There is no bill of materials: {reason}.") from None
    subject = sbom.Subject(f"{repository.uri}/{image.package}", image.digest)
    # With the image's own time, a second export writes the same bytes and therefore the same artifacts.
    placed = []
    for kind, write in _FORMS:
        content = write(read, subject, image.create_time)
        manifest = attachments.place(call.world, kind, content, image, image.create_time)
        placed.append((kind, content, manifest))
    with call.world.writing() as rows:
        if catalog.find_version(rows, name, image.package, image.digest) is None:
            raise not_found()
        for kind, content, manifest in placed:
            attachments.record(rows, call.world, kind, content, image, manifest)
    parent = f"projects/{named.project}/locations/{named.location}"
    resource = automatic_scans.resource_of(repository, image)
    _refer(call, parent, named.location, resource, placed[-1][1], image.create_time)
    return {"discoveryOccurrenceId": grafeas.name_of(parent, resource, "DISCOVERY").rpartition("/")[2]}


def _refer(call: Call, parent: str, location: str, resource: str, content: bytes, created: str) -> None:
    """Write the SPDX file into the bucket of the project's bills, and the occurrence that refers to it.

    The bucket's name is from gcloud's sbom_util.py. # unverified: the object's name
    """
    bucket = f"artifactanalysis-{location}-{call.project.number}"
    name = f"{quote(resource, safe='')}/sbom/artifact-analysis-2-3.spdx.json"
    with call.world.writing() as rows:
        if objects.find_bucket(rows, bucket) is None:
            objects.make_bucket(rows, call.world, bucket, call.project.id, location.upper())
        objects.require_own(objects.find_bucket(rows, bucket), call.project.id)
    part = objects.part(call.world)
    part.write_bytes(content)
    objects.keep(call.world, bucket, name, part, sbom.SPDX)
    digest = hashlib.sha256(content).hexdigest()
    found = sbom_reference.occurrence(
        parent, resource, f"gs://{bucket}/{name}", digest, sbom.SPDX, created, timestamp(call.world.now())
    )
    with call.world.writing() as rows:
        automatic_scans.put(rows, found)


def _open(path: Path) -> Any:
    return path.open("rb")


METHODS = tuple(
    Method(
        f"containeranalysis.{parent}.resources.exportSBOM",
        "POST",
        f"/{version}/projects/{{project}}{part}/resources/{{resource**}}:exportSBOM",
        _export,
        ("containeranalysis.occurrences.create",),
    )
    for version in ("v1", "v1beta1")
    for parent, part in (("projects", ""), ("projects.locations", "/locations/{location}"))
)
