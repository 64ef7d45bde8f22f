"""Cloud Storage: buckets and objects, over JSON and XML."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import quote

import google_crc32c

from tests.observed import shapes
from tests.observed.facts import Fact
from tests.observed.replay import NotServed, Request, Stage

HOST = "https://storage.googleapis.com"
_CONTENT = b"some bytes"
# The recordings' client sends every parameter of a list, most of them empty.
_EMPTY = ("endOffset", "matchGlob", "pageToken", "startOffset")
_FALSE = ("includeFoldersAsPrefixes", "includeTrailingDelimiter", "versions")
_PARAMETERS = {
    **{f"?{name}": "" for name in (*_EMPTY, "prefix", "maxResults")},
    **{f"?{name}": "false" for name in _FALSE},
}


def _bucket(stage: Stage, *, labelled: bool = False, location: str = "US") -> str:
    name = f"{stage.project}-{stage.name('bucket')}"
    labels = {"labels": {"purpose": "text"}} if labelled else {}
    stage.ask("POST", f"{HOST}/storage/v1/b?project={stage.project}", {"name": name, "location": location, **labels})
    return name


def _multipart(about: dict[str, Any]) -> tuple[bytes, str]:
    head = f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(about)}\r\n--b\r\n\r\n"
    return head.encode() + _CONTENT + b"\r\n--b--", "multipart/related; boundary=b"


def _object(stage: Stage, bucket: str, name: str, answer: dict[str, Any] | None = None) -> None:
    """Upload an object with the fields that the fact tells of one."""
    fields = {path.rpartition("]")[2].removeprefix(".resource"): masked for path, masked in (answer or {}).items()}
    about: dict[str, Any] = {"name": name, "contentType": "text/plain"}
    for field in ("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage"):
        if f".{field}" in fields:
            about[field] = "text"
    if ".metadata.foo" in fields:
        about["metadata"] = {"foo": "text"}
    content, kind = _multipart(about)
    url = f"{HOST}/upload/storage/v1/b/{bucket}/o?uploadType=multipart"
    stage.session.post(url, data=content, headers={"Content-Type": kind}).raise_for_status()


def _upload(stage: Stage, fact: Fact) -> Request:
    bucket = _bucket(stage)
    name = "" if fact.status == 400 else "dir/object"
    checksum = base64.b64encode(google_crc32c.Checksum(_CONTENT).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(_CONTENT, usedforsecurity=False).digest()).decode()
    values = {".bucket": bucket, ".name": name, ".crc32c": checksum, ".md5Hash": md5}
    about = shapes.fill(fact.body or {}, lambda path, masked: values.get(path, shapes.example(masked)))
    if fact.status == 412:
        _object(stage, bucket, name)
    content = _multipart(about)
    return Request(f"/upload/storage/v1/b/{bucket}/o", {"?name": name}, content=content)


def _get(stage: Stage, fact: Fact) -> Request:
    bucket = _bucket(stage)
    if fact.status != 404:
        _object(stage, bucket, "dir/object", fact.answer)
    return Request(f"/storage/v1/b/{bucket}/o/{quote('dir/object', safe='')}")


def _read(stage: Stage, fact: Fact) -> Request:
    bucket = _bucket(stage)
    if fact.status != 404:
        _object(stage, bucket, "dir/object")
    headers = {"Range": "bytes=0-3"} if fact.status == 206 else {}
    if fact.status == 403:
        # The learner may read every object here; a caller without a right does not come from a bucket.
        raise NotServed("a bucket that the learner may not read")
    found = stage.session.get(f"{HOST}/storage/v1/b/{bucket}/o/dir%2Fobject").json()
    generation = {"?generation": found.get("generation", "1")}
    return Request(f"/{bucket}/dir/object", generation, headers=headers)


def _list(stage: Stage, fact: Fact) -> Request:
    bucket, answer = _bucket(stage), fact.answer or {}
    delimiter = fact.query.get("delimiter", "/")
    items, prefixes = ".items[].name" in answer, ".prefixes[]" in answer
    for name in (*("ab" if items else ""), *((f"c{delimiter}d", f"c{delimiter}e") if prefixes else ())):
        _object(stage, bucket, name, answer)
    values = dict(_PARAMETERS)
    if ".nextPageToken" in answer:
        _object(stage, bucket, f"x{delimiter}y")
        values["?maxResults"] = "3" if items and prefixes else "1"
    if "delimiter" not in fact.query and prefixes:
        # The recording masks that the client sent one.
        return Request(f"/storage/v1/b/{bucket}/o?delimiter=%2F", values)
    return Request(f"/storage/v1/b/{bucket}/o", values)


def _get_bucket(stage: Stage, fact: Fact) -> Request:
    if fact.status == 404:
        return Request(f"/storage/v1/b/{stage.project}-none")
    answer = fact.answer or {}
    bucket = _bucket(stage, labelled=".labels.<key>" in answer, location=answer.get(".location", "US"))
    return Request(f"/storage/v1/b/{bucket}")


def _create_bucket(stage: Stage, fact: Fact) -> Request:
    name = f"{stage.project}-{stage.name('bucket')}"
    return Request("/storage/v1/b", {".name": name, "?project": stage.project})


def _rewrite(stage: Stage, fact: Fact) -> Request:
    bucket = _bucket(stage)
    return Request(f"/storage/v1/b/{bucket}/o/a/rewriteTo/b/{bucket}/o/b")


_B, _O = "/storage/v1/b", "/storage/v1/b/BUCKET/o"
PREPARE = {
    f"POST {_B}": _create_bucket,
    f"GET {_B}/X": _get_bucket,
    f"PATCH {_B}/X": _get_bucket,
    f"DELETE {_B}/X": _get_bucket,
    f"GET {_B}/X/o": _list,
    f"GET {_B}/bucket-does-not-exist/o": lambda stage, fact: Request(f"{_B}/{stage.project}-none/o", _PARAMETERS),
    f"GET {_O}": _list,
    f"GET {_O}/OBJECT": _get,
    f"DELETE {_O}/OBJECT": _get,
    f"POST {_O}/OBJECT": _rewrite,
    "POST /upload/storage/v1/b/BUCKET/o": _upload,
    "GET /BUCKET/OBJECT": _read,
    "HEAD /BUCKET/OBJECT": _read,
}
