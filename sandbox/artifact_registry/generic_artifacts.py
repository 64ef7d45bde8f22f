"""`repositories.genericArtifacts`: files of any kind, uploaded through the API.

Source: Google's discovery document of v1 (UploadGenericArtifactRequest describes the parts of a name), and gcloud's
surface/artifacts/generic: it waits for the operation, and looks for "already exists" in its error.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.responses import Response

from sandbox.api import media_uploads
from sandbox.api.methods import Answer, Call, Method
from sandbox.artifact_registry import blobs, operations, package_files, repositories
from sandbox.artifact_registry.catalog import Repository
from sandbox.artifact_registry.names import ID_PREFIX, RESOURCE, TYPE
from sandbox.artifact_registry.repository_modes import STANDARD
from sandbox.errors import invalid, not_found, unknown_field
from sandbox.state.world import World

_HOST = "artifactregistry.googleapis.com"
_PATH = "v1/projects/{project}/locations/{location}/repositories/{repository}/genericArtifacts:create"
_FIELDS = ("packageId", "versionId", "filename")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_VERSION = re.compile(r"[a-z0-9]([a-z0-9.+~:-]{0,126}[a-z0-9])?")
_FILE = re.compile(r"[A-Za-z0-9_.~@-]{1,255}")
_REQUEST_LIMIT = 256 << 20  # bytes of one request; gcloud sends pieces of 100 MiB
_LARGEST = 2 << 30  # bytes of a file


@dataclass(frozen=True)
class _Wanted:
    """The file to upload."""

    repository: Repository
    package: str
    version: str
    file: str


@dataclass(frozen=True)
class _Session:
    """A resumable upload in progress."""

    wanted: _Wanted
    part: Path


def _sessions(_world: World) -> dict[str, _Session]:
    """Return an empty table of resumable uploads by id."""
    return {}


def _part(world: World) -> Path:
    return world.folder / "uploads" / f"generic-{secrets.token_hex(16)}"


def _wanted(call: Call, about: Mapping[str, Any]) -> _Wanted:
    repository = repositories.of_format(call, "GENERIC")
    if repository.mode != STANDARD:
        raise invalid(f"{repository.name} takes no upload: it is in the mode {repository.mode}.")
    if extra := sorted(set(about) - set(_FIELDS)):
        raise unknown_field(extra[0])
    package, version, file = (str(about.get(field, "")) for field in _FIELDS)
    if not _PACKAGE.fullmatch(package):
        raise invalid(f"Invalid package_id {package[:100]!r}: letters, digits, hyphens, underscores and periods.")
    if not _VERSION.fullmatch(version) or version == "latest":
        raise invalid(f"Invalid version_id {version[:100]!r}: lower-case letters, digits and -.+~:, and not latest.")
    # gcloud's --destination-path makes it a path.
    if not all(_FILE.fullmatch(part) and part.strip(".") for part in file.split("/")):
        raise invalid(f"Invalid filename {file[:200]!r}: letters, digits and -_.~@, with slashes between folders.")
    return _Wanted(repository, package, version, file)


def _upload(call: Call) -> Answer:
    """Receive a file in one request, or start a resumable upload."""
    kind = call.query.get("uploadType", "")
    if kind == "resumable":
        session = _Session(_wanted(call, call.json()), _part(call.world))
        session.part.touch()
        upload = secrets.token_urlsafe(32)
        call.world.part(_sessions)[upload] = session
        place = (
            f"https://{_HOST}/resumable/upload/{_PATH.format(**call.params)}?uploadType=resumable&upload_id={upload}"
        )
        return Response(status_code=200, headers={"Location": place, "X-GUploader-UploadID": upload})
    if kind != "multipart":
        raise invalid(f"Invalid uploadType: {kind[:40]}")
    part = _part(call.world)
    try:
        with part.open("wb") as file:
            about, _ = media_uploads.parts(call, file)
        return _keep(call, _wanted(call, about), part)
    finally:
        part.unlink(missing_ok=True)


def _resume(call: Call) -> Answer:
    """Receive a piece of a resumable upload, or report its size so far."""
    upload = call.query.get("upload_id", "")
    session = call.world.part(_sessions).get(upload)
    if session is None or session.wanted.repository.name != repositories.find(call).name:
        raise not_found("No such upload")
    if (more := media_uploads.take_piece(call, session.part, _LARGEST)) is not None:
        return more
    del call.world.part(_sessions)[upload]
    try:
        return _keep(call, session.wanted, session.part)
    finally:
        session.part.unlink(missing_ok=True)


def _keep(call: Call, wanted: _Wanted, part: Path) -> dict[str, Any]:
    """Store a file. If it exists already, the operation fails and not the call, as gcloud expects."""
    with part.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    name = f"{wanted.package}:{wanted.version}:{wanted.file}"
    kept = package_files.PackageFile(
        wanted.repository.name, name, wanted.package, wanted.version, digest, part.stat().st_size
    )
    blobs.place(call.world, part, digest)
    with call.world.writing() as rows:
        repositories.find(call)
        metadata = {"@type": f"{TYPE}.UploadGenericArtifactMetadata"}
        try:
            package_files.add(rows, call.world, kept)
        except package_files.FileExists:
            # unverified: the sentence around "already exists"
            failed = operations.fail(rows, call, f"the file {name} already exists", operations.ALREADY_EXISTS)
            return {"operation": failed}
        response = {
            "@type": f"{TYPE}.GenericArtifact",
            "name": f"{wanted.repository.name}/genericArtifacts/{wanted.package}:{wanted.version}",
            "version": wanted.version,
        }
        return {"operation": operations.finish(rows, call, response, metadata)}


def _methods(prefix: str, verb: str, handle: Any) -> Method:
    return Method(
        f"{ID_PREFIX}.genericArtifacts.upload",
        verb,
        f"{prefix}/{_PATH}",
        handle,
        ("artifactregistry.repositories.uploadArtifacts",),
        RESOURCE,
        spills=True,
        body_limit=_REQUEST_LIMIT,
    )


METHODS = (
    _methods("/upload", "POST", _upload),
    _methods("/resumable/upload", "POST", _upload),
    _methods("/resumable/upload", "PUT", _resume),
)
