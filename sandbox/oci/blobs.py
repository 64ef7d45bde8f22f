"""Blobs over HTTP: looked up, read, removed."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

from starlette.responses import Response

from sandbox.artifact_registry import blobs, integrity
from sandbox.artifact_registry.blobs import check_digest
from sandbox.doors.file_body import FileSlice
from sandbox.errors import RegistryError
from sandbox.oci import remotes, signing
from sandbox.oci.address import Ask
from sandbox.oci.rights import DELETE_ARTIFACTS, enter
from sandbox.oci.token import Caller

_SMALL = 64 << 10  # bytes that are read at once where they need no waiting
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def byte_range(value: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header; None where the whole is the answer (RFC 9110 section 14.2).

    Raises:
        RegistryError: RANGE_INVALID for a range that no byte satisfies.
    """
    if not value.startswith("bytes=") or "," in value:
        return None
    match = _RANGE.fullmatch(value.replace(" ", ""))
    first, last = (match[1], match[2]) if match else ("", "")
    if first:
        start, stop = int(first), min(int(last) if last else size, size - 1)
        valid = start < size and (not last or start <= int(last))
    else:
        start, stop = max(size - int(last or 0), 0), size - 1
        valid = bool(last) and int(last) > 0 and size > 0
    if not valid:
        message = f"The range {value[:80]!r} is not in this blob of {size} bytes"
        raise RegistryError("RANGE_INVALID", message, headers={"Content-Range": f"bytes */{size}"})
    return start, stop


def _unknown(digest: str) -> RegistryError:
    return RegistryError("BLOB_UNKNOWN", f"Blob {digest} not found", detail={"digest": digest})


def is_quick(ask: Ask) -> bool:
    """Whether `look_up` can answer on the event loop: it reads a few rows, which costs less than waking a thread."""
    return ask.method == "GET" or (ask.method == "HEAD" and not blobs.is_collecting(ask.world))


def is_quick_download(ask: Ask) -> bool:
    """Whether `download` can: the first time since the start the blob is hashed."""
    return integrity.is_proved(ask.world, ask.reference)


def _find(ask: Ask, caller: Caller) -> tuple[str, int]:
    """Return the digest that is asked for, and the blob's size."""
    digest = check_digest(ask.reference)
    repository = remotes.reading(ask, caller)
    if ask.method == "HEAD":
        # So a push asks before it leaves a layer out.
        blobs.needed(ask.world, digest)
    with ask.world.reading() as rows:
        blob = blobs.find(rows, repository.name, digest)
    if blob is None or not integrity.has_size(ask.world, digest, blob.size):
        raise _unknown(digest)
    return digest, blob.size


def _headers(digest: str, size: int) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size),
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000",
    }


def look_up(ask: Ask, caller: Caller) -> Response:
    """GET and HEAD /v2/<name>/blobs/<digest>. Spec: "Pulling blobs", "Checking if content exists".

    GET leads to an address on the same host where the bytes are, as on Google; HEAD answers by itself.
    """
    digest, size = _find(ask, caller)
    if ask.method == "HEAD":
        return Response(headers=_headers(digest, size))
    place = signing.address_of(ask, "download", digest, caller.principal)
    return Response(status_code=302, headers={"Location": place})


def download(ask: Ask, caller: Caller) -> Response:
    """GET and HEAD a blob's signed address: the bytes, or a range of them."""
    digest, size = _find(ask, caller)
    headers = _headers(digest, size)
    etag = headers["ETag"]
    if etag in [entry.strip() for entry in ask.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers={"ETag": etag, "Docker-Content-Digest": digest})
    if ask.method == "HEAD":
        return Response(headers=headers)
    wanted = None
    if ask.headers.get("if-range", etag) == etag:
        wanted = byte_range(ask.headers.get("range", ""), size)
    start, stop = wanted or (0, size - 1)
    length = stop - start + 1
    headers["Content-Length"] = str(length)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop}/{size}"
    status = 206 if wanted else 200
    try:
        integrity.require(ask.world, digest, size)
        file = blobs.blob_path(ask.world, digest).open("rb", buffering=0)
    except FileNotFoundError:
        # Deleted and collected since the row was read, or damaged.
        raise _unknown(digest) from None
    if length <= _SMALL and (content := _cached(file, start, length)) is not None:
        file.close()
        return Response(content, status, headers)
    file.seek(start)
    return FileSlice(file, length, status, headers)


def _cached(file: BinaryIO, start: int, length: int) -> bytes | None:
    """Return part of a file, if nobody has to wait for the disk; preadv2(2), RWF_NOWAIT."""
    content = bytearray(length)
    try:
        found = os.preadv(file.fileno(), [content], start, os.RWF_NOWAIT)
    except OSError:
        return None
    return bytes(content) if found == length else None


def remove(ask: Ask, caller: Caller) -> Response:
    """DELETE /v2/<name>/blobs/<digest>. Spec: "Deleting Blobs". A blob that a manifest needs stays.

    Raises:
        RegistryError: UNSUPPORTED for a blob in use (unverified).
    """
    repository = enter(ask.world, caller.principal, ask.image, DELETE_ARTIFACTS)
    digest = check_digest(ask.reference)
    with ask.world.writing() as rows:
        if blobs.find(rows, repository.name, digest) is None:
            raise _unknown(digest)
        if blobs.in_use(rows, repository.name, digest):
            raise RegistryError("UNSUPPORTED", "Blob is still referenced by one or more manifests: delete those")
        blobs.forget(rows, repository.name, digest)
    return Response(status_code=202)
