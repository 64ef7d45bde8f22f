"""Uploads: in one request with or without metadata, or resumable in pieces.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/insert and facts/gcloud.md "builds": gcloud's
multipart upload has boundaries in single quotes and bare line feeds, a resumable one gets 308 until it is whole.
"""

from __future__ import annotations

import io
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

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
_PIECE = 1 << 20  # bytes read at once
_LONGEST_HEAD = 256 << 10  # bytes of a multipart upload's metadata, and of the head of its media
_LARGEST = 2 << 30  # bytes of an object that comes in pieces
_BLANK = re.compile(rb"\r?\n\r?\n")
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
    if kind not in ("media", "multipart"):
        raise invalid(f"Invalid uploadType: {kind}")
    part = objects.part(call.world)
    try:
        with part.open("wb") as file:
            if kind == "multipart":
                about, content_type = _parts(call, file)
            else:
                about, content_type = {}, call.headers.get("content-type", "application/octet-stream")
                shutil.copyfileobj(_body(call), file, _PIECE)
        given = metadata.check(about, bucket.name)
        name = _object_name(call.query.get("name") or about.get("name", ""))
    except ApiError:
        part.unlink(missing_ok=True)
        raise
    return _keep(call, bucket.name, name, part, given.get("contentType") or content_type, given)


def _body(call: Call) -> BinaryIO:
    return call.body or io.BytesIO(call.content)


def _size(body: BinaryIO) -> int:
    size = body.seek(0, io.SEEK_END)
    body.seek(0)
    return size


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


def _parts(call: Call, file: BinaryIO) -> tuple[dict[str, Any], str]:
    """Return the metadata of a multipart/related upload and its media's type, and write the media, exactly."""
    match = _BOUNDARY.search(call.headers.get("content-type", ""))
    if match is None:
        raise invalid("The multipart upload names no boundary.")
    boundary = b"--" + next(group for group in match.groups() if group).encode()
    body = _body(call)
    head = body.read(_LONGEST_HEAD)
    # preamble, metadata, the media's head and its beginning
    pieces = head.split(boundary, 2)
    blank = _BLANK.search(pieces[2]) if len(pieces) == 3 else None
    if blank is None:
        raise _no_parts()
    end_of_about = _BLANK.search(pieces[1])
    about = pieces[1][end_of_about.end() :] if end_of_about else b""
    kind = re.search(rb"(?im)^content-type:\s*([^\r\n]+)", pieces[2][: blank.start()])
    try:
        found = strict_json.loads(about.strip() or b"{}")
    except ValueError as error:
        raise invalid(f"Invalid JSON in the metadata part: {error}") from None
    if not isinstance(found, dict):
        raise invalid("Invalid JSON in the metadata part: expected an object.")
    # Line ends are CRLF by the book and LF from gcloud; the last one before a boundary belongs to the boundary.
    end = (b"\r\n" if blank[0].startswith(b"\r") else b"\n") + boundary
    _copy_until(end, boundary, pieces[2][blank.end() :], body, file)
    return found, kind[1].decode("latin-1").strip() if kind else ""


def _copy_until(end: bytes, boundary: bytes, begun: bytes, body: BinaryIO, file: BinaryIO) -> None:
    """Write what stands before the boundary, which must be the last and close the body."""
    held = begun
    while (place := held.find(boundary)) < 0:
        more = body.read(_PIECE)
        if not more:
            raise _no_parts()
        # What is held back may be the beginning of the end.
        keep = len(held) - min(len(held), len(end))
        file.write(held[:keep])
        held = held[keep:] + more
    rest = held[place + len(boundary) :] + body.read(_LONGEST_HEAD)
    if not rest.startswith(b"--") or boundary in rest or body.read(1):
        raise _no_parts()
    file.write(held[:place].removesuffix(end.removesuffix(boundary)))


def _no_parts() -> ApiError:
    return invalid("A multipart upload has two parts: metadata and media.")


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
    have, body = session.part.stat().st_size, _body(call)
    size = _size(body)
    if match and match[1] is not None:
        if int(match[1]) != have or int(match[2]) - int(match[1]) + 1 != size:
            raise ApiError("OUT_OF_RANGE", f"This upload continues at byte {have}.", http_status=416)
        total = match[3]
    elif match:
        total = match[3]
        if size:
            raise invalid("A request for an upload's state has no body.")
    else:
        total = str(have + size)
    if have + size > _LARGEST:
        raise invalid(f"An object has at most {_LARGEST} bytes in the workbook's sandbox.")
    with session.part.open("ab") as file:
        shutil.copyfileobj(body, file, _PIECE)
    have += size
    if total == "*" or have < int(total):
        return Response(status_code=308, headers={"Range": f"bytes=0-{have - 1}"} if have else {})
    del call.world.part(_sessions)[upload]
    return _keep(call, session.bucket, session.name, session.part, session.content_type, session.given)
