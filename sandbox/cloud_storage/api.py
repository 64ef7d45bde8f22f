"""storage.googleapis.com: the methods that `gcloud builds submit` and readers of build logs call.

Source: https://cloud.google.com/storage/docs/json_api/v1 and the requests of gcloud, facts/gcloud.md "builds".
A field or a parameter that the sandbox does not support is refused with 501.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from xml.sax.saxutils import escape

from starlette.responses import Response

from sandbox.api import lists, shapes
from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.cloud_storage import conditions, listing, metadata, objects, uploads
from sandbox.cloud_storage.objects import Stored
from sandbox.cloud_storage.resources import NO_BUCKET, bucket_of, denied, render, render_bucket
from sandbox.doors.file_body import FileSlice
from sandbox.errors import ApiError, invalid, not_found, unimplemented
from sandbox.iam import admission, policies
from sandbox.state import projects

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


_UNIFORM: dict[str, Any] = {"uniformBucketLevelAccess": {"enabled": True}}
# Values that describe every bucket here
_DONE: dict[str, tuple[Any, ...]] = {
    "storageClass": ("STANDARD",),
    "iamConfiguration": (_UNIFORM, {**_UNIFORM, "publicAccessPrevention": "inherited"}),
    "lifecycle": ({}, {"rule": []}),
    "versioning": ({"enabled": False},),
    "autoclass": ({"enabled": False},),
}


class _NewBucket(shapes.Shape):
    name: str | None = None
    location: str | None = None
    labels: dict[str, str] | None = None


def _check_new(body: dict[str, Any]) -> None:
    """Raise for a field of a new bucket that the sandbox does not support."""
    for field, value in body.items():
        done = _DONE.get(field)
        if field not in ("name", "location", "labels") and (done is None or value not in done):
            raise unimplemented(f"{field} of a bucket")


def _create_bucket(call: Call) -> dict[str, Any]:
    body = shapes.check(_NewBucket, call.json())
    _check_new(body)
    project = projects.find(call.world, call.query.get("project", ""))
    if project is None:
        raise invalid("Required parameter: project")
    permission = "storage.buckets.create"
    admission.require(call, permission, f"projects/{project.id}", service=SERVICE)
    name = body.get("name", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(f"Invalid bucket name: '{name}'")
    if name.startswith("goog") or "google" in name:
        # https://cloud.google.com/storage/docs/buckets#naming
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
    return render_bucket(call, bucket) if bucket else {}


def _get_bucket(call: Call) -> dict[str, Any]:
    return render_bucket(call, bucket_of(call, "storage.buckets.get"))


def _list_buckets(call: Call) -> dict[str, Any]:
    project = projects.find(call.world, call.query.get("project", ""))
    permission = "storage.buckets.list"
    if project is None or not admission.is_allowed(call, permission, f"projects/{project.id}"):
        raise denied(call, permission, "Google Cloud project")
    with call.world.reading() as rows:
        found = objects.buckets(rows, project.id, call.query.get("prefix", ""))
    chosen, token = lists.page(found, _paged(call), lambda bucket: bucket.name)
    return _listed("storage#buckets", [render_bucket(call, bucket) for bucket in chosen], token)


def _paged(call: Call) -> dict[str, str]:
    return {"pageSize": call.query.get("maxResults", ""), "pageToken": call.query.get("pageToken", "")}


def _listed(kind: str, items: Sequence[Any], token: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"kind": kind}
    if token:
        answer["nextPageToken"] = token
    return answer | ({"items": items} if items else {})


def _delete_bucket(call: Call) -> Response:
    bucket = bucket_of(call, "storage.buckets.delete")
    with call.world.writing() as rows:
        if not objects.remove_bucket(rows, bucket.name):
            raise ApiError("ABORTED", "The bucket you tried to delete is not empty.", http_status=409)
        policies.forget(rows, bucket.resource)
    return Response(status_code=204)


def _list(call: Call) -> dict[str, Any]:
    bucket = bucket_of(call, "storage.objects.list")
    with call.world.reading() as rows:
        found = objects.in_bucket(rows, bucket.name)
    page = listing.page(found, call.query)
    answer = _listed("storage#objects", [render(call, stored) for stored in page.items], page.token)
    return answer | ({"prefixes": list(page.prefixes)} if page.prefixes else {})


def _find(call: Call, permission: str) -> Stored:
    bucket = bucket_of(call, permission, "object")
    with call.world.reading() as rows:
        stored = objects.find(rows, bucket.name, call.params["object"])
    if stored is None:
        raise not_found(f"No such object: {bucket.name}/{call.params['object']}")
    generation = call.query.get("generation")
    if generation and generation != str(stored.generation):
        raise not_found(f"No such object: {bucket.name}/{stored.name}#{generation}")
    conditions.require(call, stored)
    return stored


def _get(call: Call) -> dict[str, Any] | Response:
    stored = _find(call, "storage.objects.get")
    return _media(call, stored) if call.query.get("alt") == "media" else render(call, stored)


def _read_xml(call: Call) -> Response:
    if call.params["bucket"] in ("storage", "upload", "download", "batch"):
        # A method of the JSON API that the sandbox lacks; these are not names of buckets.
        raise unimplemented(f"GET /{call.params['bucket']}/{call.params['object']} of {SERVICE}")
    try:
        return _download(call)
    except ApiError as error:
        return _as_xml(error)


def _as_xml(error: ApiError) -> Response:
    """Return a refusal in the XML API's form: https://cloud.google.com/storage/docs/xml-api/reference-status."""
    code, message = {
        304: ("NotModified", ""),
        403: ("AccessDenied", "Access denied."),
        404: ("NoSuchKey", "The specified key does not exist."),
        412: ("PreconditionFailed", error.message),
    }.get(error.http_status, ("InvalidArgument", "Invalid argument."))
    if error.message == NO_BUCKET:
        code, message = "NoSuchBucket", NO_BUCKET
    if error.http_status == HTTPStatus.NOT_MODIFIED:
        return Response(status_code=error.http_status)
    details = "" if message == error.message else f"<Details>{escape(error.message)}</Details>"
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{details}</Error>"
    declaration = "<?xml version='1.0' encoding='UTF-8'?>"
    return Response(f"{declaration}{body}", error.http_status, media_type="application/xml; charset=UTF-8")


def _download(call: Call) -> Response:
    return _media(call, _find(call, "storage.objects.get"))


def _media(call: Call, stored: Stored) -> Response:
    """Return the object or a range of it (RFC 9110 section 14). A build's log may still be growing."""
    headers = {"Accept-Ranges": "bytes", **metadata.headers(call.world, stored)}
    kind = stored.content_type or "application/octet-stream"
    try:
        file = stored.path(call.world).open("rb", buffering=0)
    except FileNotFoundError:
        # A log without any content yet.
        return Response(headers=headers, media_type=kind)
    size = os.fstat(file.fileno()).st_size
    span = _RANGE.fullmatch(call.headers.get("range", ""))
    start, end = int(span[1]) if span else 0, size - 1
    if span and span[2]:
        end = min(int(span[2]), end)
    if span and start >= size:
        file.close()
        headers["Content-Range"] = f"bytes */{size}"
        return Response(
            b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>InvalidRange</Code><Message>The requested range "
            b"cannot be satisfied.</Message></Error>",
            416,
            headers,
            "application/xml; charset=UTF-8",
        )
    if span:
        headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    length = max(end - start + 1, 0)
    file.seek(start)
    headers |= {"Content-Type": kind, "Content-Length": str(length)}
    return FileSlice(file, length, 206 if span else 200, headers)


def _delete(call: Call) -> Response:
    stored = _find(call, "storage.objects.delete")
    with call.world.writing() as rows:
        objects.remove(rows, call.world, stored)
    return Response(status_code=204)


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
            Method("storage.objects.get", "GET", f"{_B}/{{bucket}}/o/{{object}}", _get),
            Method("storage.objects.delete", "DELETE", f"{_B}/{{bucket}}/o/{{object}}", _delete),
            Method("storage.objects.insert", "POST", f"/upload/{_UPLOADS}", uploads.upload, spills=True),
            Method("storage.objects.insert", "POST", f"/resumable/upload/{_UPLOADS}", uploads.upload, spills=True),
            Method("storage.objects.insert", "PUT", f"/resumable/upload/{_UPLOADS}", uploads.resume, spills=True),
            Method("storage.objects.insert", "PUT", f"/upload/{_UPLOADS}", uploads.resume, spills=True),
            Method("storage.objects.get", "GET", "/download/storage/v1/b/{bucket}/o/{object}", _download),
            # The XML API, by which gcloud reads logs: https://storage.googleapis.com/BUCKET/log-ID.txt
            Method("storage.xml.getObject", "GET", "/{bucket}/{object**}", _read_xml),
        )
    ),
    needs_enabling=False,
    lists_errors=True,
    body_limit=_UPLOAD_LIMIT,
)
