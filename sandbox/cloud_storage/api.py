"""storage.googleapis.com, as far as `gcloud builds submit` and the reading of build logs go.

Source: https://cloud.google.com/storage/docs/json_api/v1 and the requests of gcloud, facts/gcloud.md "builds":
a multipart upload has boundaries in single quotes and bare line feeds, a resumable one gets 308 until it is whole.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from sandbox.api import shapes, strict_json
from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.cloud_storage import objects
from sandbox.cloud_storage.objects import Bucket, Stored
from sandbox.errors import ApiError, invalid, not_found, permission_denied
from sandbox.iam import admission, policies
from sandbox.state import projects
from sandbox.state.world import World

SERVICE = "storage.googleapis.com"
TITLE = "Cloud Storage API"

_UPLOAD_LIMIT = 256 * 1024 * 1024  # bytes of one request; gcloud's chunks have 100 MiB
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
# Both: https://cloud.google.com/storage/docs/json_api/v1/status-codes#409_Conflict
_OWN = "Your previous request to create the named bucket succeeded and you already own it."
_TAKEN = (
    "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
    "Please select a different name and try again."
)
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")
_BOUNDARY = re.compile(r"boundary=(?:'([^']+)'|\"([^\"]+)\"|([^;\s]+))")


@dataclass
class _Session:
    """A resumable upload on its way."""

    bucket: str
    name: str
    content_type: str
    part: Path


def _sessions(_world: World) -> dict[str, _Session]:
    """Start the list of resumable uploads by id."""
    return {}


def _may(call: Call, permission: str, resource: str, what: str) -> None:
    """403 in the words of Cloud Storage, which names the caller."""
    if admission.is_allowed(call, permission, resource):
        return
    caller = call.principal.email or "Anonymous caller"
    raise ApiError(
        "PERMISSION_DENIED",
        f"{caller} does not have {permission} access to the Google Cloud Storage {what}. Permission "
        f"'{permission}' denied on resource (or it may not exist).",
    )


def _bucket(call: Call, permission: str, what: str = "bucket") -> Bucket:
    with call.world.reading() as rows:
        bucket = objects.find_bucket(rows, call.params["bucket"])
    if bucket is None:
        raise not_found("The specified bucket does not exist.")
    _may(call, permission, bucket.resource, what)
    return bucket


def _render_bucket(call: Call, bucket: Bucket) -> dict[str, Any]:
    project = projects.find(call.world, bucket.project)
    answer: dict[str, Any] = {
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket.name}",
        "projectNumber": project.number if project else "",
        "location": bucket.location,
        "locationType": "multi-region" if bucket.location in ("US", "EU", "ASIA") else "region",
        "storageClass": "STANDARD",
        "metageneration": "1",
        "timeCreated": bucket.create_time,
        "updated": bucket.create_time,
        "etag": "CAE=",
    }
    labels = json.loads(bucket.labels)
    return answer | ({"labels": labels} if labels else {})


def _render(call: Call, stored: Stored) -> dict[str, Any]:
    answer = {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": "1",
        "contentType": stored.content_type,
        "storageClass": "STANDARD",
        "size": str(stored.size(call.world)),
        "md5Hash": stored.md5,
        "timeCreated": stored.create_time,
        "updated": stored.create_time,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{stored.bucket}/o/{quote(stored.name, safe='')}",
        "mediaLink": f"https://storage.googleapis.com/download/storage/v1/b/{stored.bucket}/o/"
        f"{quote(stored.name, safe='')}?generation={stored.generation}&alt=media",
    }
    return {key: value for key, value in answer.items() if value}


class _NewBucket(shapes.Shape):
    name: str | None = None
    location: str | None = None
    labels: dict[str, str] | None = None


def _create_bucket(call: Call) -> dict[str, Any]:
    body = shapes.check(_NewBucket, call.json())
    project = projects.find(call.world, call.query.get("project", ""))
    if project is None:
        raise invalid("Required parameter: project")
    permission = "storage.buckets.create"
    admission.require(call, permission, f"projects/{project.id}", service=SERVICE)
    name = body.get("name", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(f"Invalid bucket name: '{name}'")
    if name.startswith("goog") or "google" in name:
        # https://cloud.google.com/storage/docs/buckets#naming: where Google's own buckets are, nobody makes one first.
        raise invalid(f"Invalid bucket name: '{name}': names with goog in front, or google in them, are Google's.")
    location = str(body.get("location") or "US").upper()
    try:
        with call.world.writing() as rows:
            objects.make_bucket(rows, call.world, name, project.id, location, json.dumps(body.get("labels") or {}))
            bucket = objects.find_bucket(rows, name)
    except sqlite3.IntegrityError:
        with call.world.reading() as rows:
            taken = objects.find_bucket(rows, name)
        raise ApiError(
            "ALREADY_EXISTS", _OWN if taken is not None and taken.project == project.id else _TAKEN
        ) from None
    return _render_bucket(call, bucket) if bucket else {}


def _get_bucket(call: Call) -> dict[str, Any]:
    return _render_bucket(call, _bucket(call, "storage.buckets.get"))


def _list_buckets(call: Call) -> dict[str, Any]:
    project = projects.find(call.world, call.query.get("project", ""))
    permission = "storage.buckets.list"
    if project is None or not admission.is_allowed(call, permission, f"projects/{project.id}"):
        raise permission_denied(permission, f"//{SERVICE}/projects/{call.query.get('project', '')}")
    with call.world.reading() as rows:
        found = objects.buckets(rows, project.id, call.query.get("prefix", ""))
    return {"kind": "storage#buckets", "items": [_render_bucket(call, bucket) for bucket in found]}


def _delete_bucket(call: Call) -> Response:
    bucket = _bucket(call, "storage.buckets.delete")
    with call.world.writing() as rows:
        if not objects.remove_bucket(rows, bucket.name):
            raise ApiError("ABORTED", "The bucket you tried to delete is not empty.", http_status=409)
        policies.forget(rows, bucket.resource)
    return Response(status_code=204)


def _list(call: Call) -> dict[str, Any]:
    bucket = _bucket(call, "storage.objects.list")
    with call.world.reading() as rows:
        found = objects.in_bucket(rows, bucket.name, call.query.get("prefix", ""))
    return {"kind": "storage#objects", "items": [_render(call, stored) for stored in found]}


def _find(call: Call, permission: str) -> Stored:
    bucket = _bucket(call, permission, "object")
    with call.world.reading() as rows:
        stored = objects.find(rows, bucket.name, call.params["object"])
    if stored is None:
        raise not_found(f"No such object: {bucket.name}/{call.params['object']}")
    asked = call.query.get("generation")
    if asked and asked != str(stored.generation):
        raise not_found(f"No such object: {bucket.name}/{stored.name}#{asked}")
    return stored


def _get(call: Call) -> dict[str, Any] | Response:
    stored = _find(call, "storage.objects.get")
    return _media(call, stored) if call.query.get("alt") == "media" else _render(call, stored)


def _download(call: Call) -> Response:
    return _media(call, _find(call, "storage.objects.get"))


def _media(call: Call, stored: Stored) -> Response:
    """Return the bytes, whole or a range (RFC 9110 section 14); a log is read while it grows."""
    path = stored.path(call.world)
    content = path.read_bytes() if path.exists() else b""
    headers = {"Accept-Ranges": "bytes", "x-goog-generation": str(stored.generation)}
    asked = _RANGE.fullmatch(call.headers.get("range", ""))
    if asked is None:
        return Response(content, headers=headers, media_type=stored.content_type)
    start = int(asked[1])
    end = min(int(asked[2]), len(content) - 1) if asked[2] else len(content) - 1
    if start >= len(content):
        headers["Content-Range"] = f"bytes */{len(content)}"
        return Response(
            b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>InvalidRange</Code><Message>The requested range "
            b"cannot be satisfied.</Message></Error>",
            416,
            headers,
            "application/xml; charset=UTF-8",
        )
    headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    return Response(content[start : end + 1], 206, headers, stored.content_type)


def _delete(call: Call) -> Response:
    stored = _find(call, "storage.objects.delete")
    with call.world.writing() as rows:
        objects.remove(rows, call.world, stored)
    return Response(status_code=204)


def _upload(call: Call) -> dict[str, Any] | Response:
    bucket = _bucket(call, "storage.objects.create")
    kind = call.query.get("uploadType", "media")
    if kind == "resumable":
        return _begin(call, bucket)
    if kind == "multipart":
        about, content_type, content = _parts(call)
        name = call.query.get("name") or about.get("name", "")
    elif kind == "media":
        content_type = call.headers.get("content-type", "application/octet-stream")
        name, content = call.query.get("name", ""), call.content
    else:
        raise invalid(f"Invalid uploadType: {kind}")
    part = objects.part(call.world)
    part.write_bytes(content)
    return _render(call, objects.keep(call.world, bucket.name, _object_name(name), part, content_type))


def _object_name(name: Any) -> str:
    if not isinstance(name, str) or not name or len(name.encode()) > 1024 or "\r" in name or "\n" in name:
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
    return metadata, kind[1].decode("latin-1").strip() if kind else "application/octet-stream", media


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
    name = _object_name(call.query.get("name") or call.json().get("name", ""))
    upload = secrets.token_urlsafe(32)
    kind = call.headers.get("x-upload-content-type", "application/octet-stream")
    session = _Session(bucket.name, name, kind, objects.part(call.world))
    session.part.touch()
    call.world.part(_sessions)[upload] = session
    location = (
        f"https://{SERVICE}/resumable/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&upload_id={upload}"
    )
    return Response(status_code=200, headers={"Location": location, "X-GUploader-UploadID": upload})


def _resume(call: Call) -> dict[str, Any] | Response:
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
    return _render(call, objects.keep(call.world, session.bucket, session.name, session.part, session.content_type))


_B = "/storage/v1/b"
_UPLOADS = "storage/v1/b/{bucket}/o"

API = Api(
    SERVICE,
    TITLE,
    ordered(
        (
            Method("storage.buckets.insert", "POST", _B, _create_bucket),
            Method("storage.buckets.list", "GET", _B, _list_buckets),
            Method("storage.buckets.get", "GET", f"{_B}/{{bucket}}", _get_bucket),
            Method("storage.buckets.delete", "DELETE", f"{_B}/{{bucket}}", _delete_bucket),
            Method("storage.objects.list", "GET", f"{_B}/{{bucket}}/o", _list),
            Method("storage.objects.get", "GET", f"{_B}/{{bucket}}/o/{{object**}}", _get),
            Method("storage.objects.delete", "DELETE", f"{_B}/{{bucket}}/o/{{object**}}", _delete),
            Method("storage.objects.insert", "POST", f"/upload/{_UPLOADS}", _upload),
            Method("storage.objects.insert", "POST", f"/resumable/upload/{_UPLOADS}", _upload),
            Method("storage.objects.insert", "PUT", f"/resumable/upload/{_UPLOADS}", _resume),
            Method("storage.objects.insert", "PUT", f"/upload/{_UPLOADS}", _resume),
            Method("storage.objects.get", "GET", "/download/storage/v1/b/{bucket}/o/{object**}", _download),
            # The XML API, which gcloud reads logs with: https://storage.googleapis.com/BUCKET/log-ID.txt
            Method("storage.xml.getObject", "GET", "/{bucket}/{object**}", _download),
        )
    ),
    needs_enabling=False,
    body_limit=_UPLOAD_LIMIT,
)
