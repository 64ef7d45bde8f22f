"""HTTP methods on blobs: find, download and delete."""

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
from sandbox.oci.address import RegistryCall
from sandbox.oci.rights import DELETE_ARTIFACTS, enter
from sandbox.oci.token import Caller

_SMALL = 64 << 10  # bytes that are sent from memory if the file is in the page cache
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def byte_range(value: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of a Range header, or None to send everything (RFC 9110 section 14.2).

    Raises:
        RegistryError: RANGE_INVALID if the range contains no byte.
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


def is_quick(call: RegistryCall) -> bool:
    """Return whether `look_up` can run on the event loop: reading a few rows costs less than a thread switch."""
    return call.method == "GET" or (call.method == "HEAD" and not blobs.is_collecting(call.world))


def is_quick_download(call: RegistryCall) -> bool:
    """Return whether `download` can run on the event loop: it hashes the blob at the first read since the start."""
    return integrity.is_proved(call.world, call.reference)


def _find(call: RegistryCall, caller: Caller) -> tuple[str, int]:
    """Return the blob's digest and size."""
    digest = check_digest(call.reference)
    repository = remotes.reading(call, caller)
    if call.method == "HEAD":
        # A push checks with HEAD whether it can skip a layer.
        blobs.needed(call.world, digest)
    with call.world.reading() as rows:
        blob = blobs.find(rows, repository.name, digest)
    if blob is None or not integrity.has_size(call.world, digest, blob.size):
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


def look_up(call: RegistryCall, caller: Caller) -> Response:
    """Handle GET and HEAD /v2/<name>/blobs/<digest>. Spec: "Pulling blobs", "Checking if content exists".

    As on Google, GET redirects to a signed address on the same host.
    """
    digest, size = _find(call, caller)
    if call.method == "HEAD":
        return Response(headers=_headers(digest, size))
    place = signing.address_of(call, "download", digest, caller.principal)
    return Response(status_code=302, headers={"Location": place})


def download(call: RegistryCall, caller: Caller) -> Response:
    """Handle GET and HEAD of a blob's signed address: send the blob, or a range of it."""
    digest, size = _find(call, caller)
    headers = _headers(digest, size)
    etag = headers["ETag"]
    if etag in [entry.strip() for entry in call.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers={"ETag": etag, "Docker-Content-Digest": digest})
    if call.method == "HEAD":
        return Response(headers=headers)
    wanted = None
    if call.headers.get("if-range", etag) == etag:
        wanted = byte_range(call.headers.get("range", ""), size)
    start, stop = wanted or (0, size - 1)
    length = stop - start + 1
    headers["Content-Length"] = str(length)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop}/{size}"
    status = 206 if wanted else 200
    try:
        integrity.require(call.world, digest, size)
        file = integrity.path_of(call.world, digest).open("rb", buffering=0)
    except FileNotFoundError:
        # Damaged, or collected since the row was read.
        raise _unknown(digest) from None
    if length <= _SMALL and (content := _cached(file, start, length)) is not None:
        file.close()
        return Response(content, status, headers)
    file.seek(start)
    return FileSlice(file, length, status, headers)


def _cached(file: BinaryIO, start: int, length: int) -> bytes | None:
    """Return part of a file, or None if that would wait for the disk; preadv2(2), RWF_NOWAIT."""
    content = bytearray(length)
    try:
        found = os.preadv(file.fileno(), [content], start, os.RWF_NOWAIT)
    except OSError:
        return None
    return bytes(content) if found == length else None


def remove(call: RegistryCall, caller: Caller) -> Response:
    """Handle DELETE /v2/<name>/blobs/<digest>. Spec: "Deleting Blobs".

    Raises:
        RegistryError: UNSUPPORTED for a blob in use (unverified).
    """
    repository = enter(call.world, caller.principal, call.image, DELETE_ARTIFACTS)
    digest = check_digest(call.reference)
    with call.world.writing() as rows:
        if blobs.find(rows, repository.name, digest) is None:
            raise _unknown(digest)
        if blobs.in_use(rows, repository.name, digest):
            raise RegistryError("UNSUPPORTED", "Blob is still referenced by one or more manifests: delete those")
        blobs.forget(rows, repository.name, digest)
    return Response(status_code=202)
