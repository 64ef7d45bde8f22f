"""Uploads: in one request with or without metadata, or resumable in pieces.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/insert and facts/gcloud.md "builds": gcloud's
multipart upload has boundaries in single quotes and bare line feeds, a resumable one gets 308 until it is whole.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.responses import Response

from sandbox.api import strict_json
from sandbox.api.methods import Call
from sandbox.cloud_storage import conditions, metadata, objects
from sandbox.cloud_storage.objects import Bucket
from sandbox.cloud_storage.resources import bucket_of, render
from sandbox.errors import ApiError, invalid, not_found
from sandbox.state.world import World

SERVICE = "storage.googleapis.com"
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")
_BOUNDARY = re.compile(r"boundary=(?:'([^']+)'|\"([^\"]+)\"|([^;\s]+))")


@dataclass
class _Session:
    """A resumable upload on its way."""

    bucket: str
    name: str
    content_type: str
    part: Path
    given: dict[str, Any]


def _sessions(_world: World) -> dict[str, _Session]:
    """Start the list of resumable uploads by id."""
    return {}


def upload(call: Call) -> dict[str, Any] | Response:
    """Take an object in one request, or begin a resumable upload."""
    conditions.check(call, *conditions.OF_AN_OBJECT[1:], "uploadType", "name", "upload_id")
    bucket = bucket_of(call, "storage.objects.create")
    kind = call.query.get("uploadType", "media")
    if kind == "resumable":
        return _begin(call, bucket)
    if kind == "multipart":
        about, content_type, content = _parts(call)
        name = call.query.get("name") or about.get("name", "")
    elif kind == "media":
        about = {}
        content_type = call.headers.get("content-type", "application/octet-stream")
        name, content = call.query.get("name", ""), call.content
    else:
        raise invalid(f"Invalid uploadType: {kind}")
    given = metadata.check(about, bucket.name)
    part = objects.part(call.world)
    part.write_bytes(content)
    return _keep(call, bucket.name, _object_name(name), part, given.get("contentType") or content_type, given)


def _keep(call: Call, bucket: str, name: str, part: Path, content_type: str, given: dict[str, Any]) -> dict[str, Any]:
    """Make the uploaded bytes an object, unless a checksum or a condition says otherwise: then they go."""
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


def _parts(call: Call) -> tuple[dict[str, Any], str, bytes]:
    """Return the two parts of multipart/related: the object's metadata and its bytes, exactly."""
    match = _BOUNDARY.search(call.headers.get("content-type", ""))
    if match is None:
        raise invalid("The multipart upload names no boundary.")
    boundary = b"--" + next(group for group in match.groups() if group).encode()
    pieces = call.content.split(boundary)
    # preamble, metadata, media, the closing "--"
    if len(pieces) != 4 or not pieces[3].startswith(b"--"):
        raise invalid("A multipart upload has two parts: metadata and media.")
    (_, about), (head, media) = (_part(piece) for piece in pieces[1:3])
    kind = re.search(rb"(?im)^content-type:\s*([^\r\n]+)", head)
    try:
        metadata = strict_json.loads(about or b"{}")
    except ValueError as error:
        raise invalid(f"Invalid JSON in the metadata part: {error}") from None
    if not isinstance(metadata, dict):
        raise invalid("Invalid JSON in the metadata part: expected an object.")
    return metadata, kind[1].decode("latin-1").strip() if kind else "", media


def _part(piece: bytes) -> tuple[bytes, bytes]:
    # Line ends are CRLF by the book and LF from gcloud; the last one before a boundary belongs to the boundary.
    head, separator, body = (
        re.split(rb"(\r?\n\r?\n)", piece, maxsplit=1)
        if re.search(rb"\r?\n\r?\n", piece)
        else (
            piece,
            b"",
            b"",
        )
    )
    return head, body.removesuffix(b"\r\n" if separator.startswith(b"\r") else b"\n")


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
    """Take a piece of a resumable upload, or say how much there is of it."""
    upload = call.query.get("upload_id", "")
    session = call.world.part(_sessions).get(upload)
    if session is None or session.bucket != call.params["bucket"]:
        raise not_found("No such upload")
    match = _CONTENT_RANGE.fullmatch(call.headers.get("content-range", ""))
    have = session.part.stat().st_size
    if match and match[1] is not None:
        if int(match[1]) != have or int(match[2]) - int(match[1]) + 1 != len(call.content):
            raise ApiError("OUT_OF_RANGE", f"This upload continues at byte {have}.", http_status=416)
        total = match[3]
    elif match:
        total = match[3]
        if call.content:
            raise invalid("A request for an upload's state has no body.")
    else:
        total = str(have + len(call.content))
    with session.part.open("ab") as file:
        file.write(call.content)
    have += len(call.content)
    if total == "*" or have < int(total):
        return Response(status_code=308, headers={"Range": f"bytes=0-{have - 1}"} if have else {})
    del call.world.part(_sessions)[upload]
    return _keep(call, session.bucket, session.name, session.part, session.content_type, session.given)
