"""Uploads of objects: in one request with or without metadata, or resumable.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/insert and facts/gcloud.md "builds".
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.responses import Response

from sandbox.api import media_uploads
from sandbox.api.methods import Call
from sandbox.cloud_storage import conditions, metadata, objects
from sandbox.cloud_storage.objects import Bucket
from sandbox.cloud_storage.resources import bucket_of, render
from sandbox.errors import ApiError, invalid, not_found
from sandbox.state.world import World

SERVICE = "storage.googleapis.com"
_PIECE = 1 << 20  # bytes per read
_LARGEST = 2 << 30  # bytes of a resumable upload


@dataclass
class _Session:
    """A resumable upload in progress."""

    bucket: str
    name: str
    content_type: str
    part: Path
    given: dict[str, Any]


def _sessions(_world: World) -> dict[str, _Session]:
    """Return an empty table of resumable uploads by id."""
    return {}


def upload(call: Call) -> dict[str, Any] | Response:
    """Receive an object in one request, or start a resumable upload."""
    bucket = bucket_of(call, "storage.objects.create")
    kind = call.query.get("uploadType", "media")
    if kind == "resumable":
        return _begin(call, bucket)
    if kind not in ("media", "multipart"):
        raise invalid(f"Invalid uploadType: {kind}")
    part = objects.part(call.world)
    try:
        with part.open("wb") as file:
            if kind == "multipart":
                about, content_type = media_uploads.parts(call, file)
            else:
                about, content_type = {}, call.headers.get("content-type", "application/octet-stream")
                shutil.copyfileobj(media_uploads.body(call), file, _PIECE)
        given = metadata.check(about, bucket.name)
        name = _object_name(call.query.get("name") or about.get("name", ""))
    except ApiError:
        part.unlink(missing_ok=True)
        raise
    return _keep(call, bucket.name, name, part, given.get("contentType") or content_type, given)


def _keep(call: Call, bucket: str, name: str, part: Path, content_type: str, given: dict[str, Any]) -> dict[str, Any]:
    """Store the uploaded file as an object, or delete it if a checksum is wrong or a precondition fails."""
    try:
        stored = objects.keep(
            call.world,
            bucket,
            name,
            part,
            content_type,
            describe=lambda content, md5: metadata.keep(given, content, md5),
            allow=lambda before: conditions.require(call, before),
        )
    except ApiError:
        part.unlink(missing_ok=True)
        raise
    return render(call, stored)


def _object_name(name: Any) -> str:
    if name == "":
        raise invalid("No object name")
    if not isinstance(name, str) or len(name.encode()) > 1024 or "\r" in name or "\n" in name:
        raise invalid("Required parameter: name, of at most 1024 bytes")
    return name


def _begin(call: Call, bucket: Bucket) -> Response:
    about = call.json()
    given = metadata.check(about, bucket.name)
    name = _object_name(call.query.get("name") or about.get("name", ""))
    upload = secrets.token_urlsafe(32)
    kind = call.headers.get("x-upload-content-type", "application/octet-stream")
    session = _Session(bucket.name, name, given.get("contentType") or kind, objects.part(call.world), given)
    with call.world.reading() as rows:
        conditions.require(call, objects.find(rows, bucket.name, name))
    session.part.touch()
    call.world.part(_sessions)[upload] = session
    location = (
        f"https://{SERVICE}/resumable/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&upload_id={upload}"
    )
    return Response(status_code=200, headers={"Location": location, "X-GUploader-UploadID": upload})


def resume(call: Call) -> dict[str, Any] | Response:
    """Receive a piece of a resumable upload, or report its size so far."""
    upload = call.query.get("upload_id", "")
    session = call.world.part(_sessions).get(upload)
    if session is None or session.bucket != call.params["bucket"]:
        raise not_found("No such upload")
    if (more := media_uploads.take_piece(call, session.part, _LARGEST)) is not None:
        return more
    del call.world.part(_sessions)[upload]
    return _keep(call, session.bucket, session.name, session.part, session.content_type, session.given)
