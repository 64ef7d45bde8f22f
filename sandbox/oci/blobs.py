"""Blobs over HTTP: looked up, read, pushed, mounted, removed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox import blobs
from sandbox.blobs import check_digest
from sandbox.catalog import find_repository
from sandbox.errors import RegistryError
from sandbox.oci import uploads
from sandbox.oci.address import Ask, image_of, split_host
from sandbox.oci.rights import DELETE_ARTIFACTS, DOWNLOAD, UPLOAD, enter, may
from sandbox.oci.token import Caller
from sandbox.oci.uploads import Upload

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)(?:/(?:\d+|\*))?")


class FileSlice(Response):
    """Part of a file, read ahead by one batch in a thread; the file is closed at the end."""

    def __init__(self, file: BinaryIO, length: int, status_code: int, headers: Mapping[str, str]) -> None:
        super().__init__(None, status_code, dict(headers))
        self._file = file
        self._length = length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self._length
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        ahead = asyncio.ensure_future(asyncio.to_thread(self._file.read, min(left, uploads.BATCH)))
        try:
            while left:
                data = await ahead
                if not data:
                    raise OSError("a blob's file is shorter than its row says")
                left -= len(data)
                if left:
                    ahead = asyncio.ensure_future(asyncio.to_thread(self._file.read, min(left, uploads.BATCH)))
                await send({"type": "http.response.body", "body": data, "more_body": left > 0})
        finally:
            if not ahead.done():
                await asyncio.wait([ahead])
            self._file.close()


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
        raise RegistryError(
            "RANGE_INVALID", f"The range {value[:80]!r} is not in 0-{size - 1}", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, stop


def read(ask: Ask, caller: Caller) -> Response:
    """GET and HEAD /v2/<name>/blobs/<digest>. Spec: "Pulling blobs", "Checking if content exists"."""
    enter(ask.world, caller.principal, ask.image, DOWNLOAD)
    digest = check_digest(ask.reference)
    with ask.world.reading() as rows:
        blob = blobs.find(rows, ask.image.repository, digest)
    if blob is None:
        raise RegistryError("BLOB_UNKNOWN", f"Blob {digest} not found", detail={"digest": digest})
    etag = f'"{digest}"'
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(blob.size),
        "Docker-Content-Digest": digest,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000",
    }
    if etag in [entry.strip() for entry in ask.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers={"ETag": etag, "Docker-Content-Digest": digest})
    if ask.method == "HEAD":
        return Response(headers=headers)
    wanted = None
    if ask.headers.get("if-range", etag) == etag:
        wanted = byte_range(ask.headers.get("range", ""), blob.size)
    start, stop = wanted or (0, blob.size - 1)
    length = stop - start + 1
    headers["Content-Length"] = str(length)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop}/{blob.size}"
    status = 206 if wanted else 200
    file = blobs.blob_path(ask.world, digest).open("rb", buffering=0)
    file.seek(start)
    if length > uploads.BATCH:
        return FileSlice(file, length, status, headers)
    with file:
        return Response(file.read(length), status, headers)


def remove(ask: Ask, caller: Caller) -> Response:
    """DELETE /v2/<name>/blobs/<digest>. Spec: "Deleting Blobs". A blob that a manifest needs stays.

    Raises:
        RegistryError: UNSUPPORTED for a blob in use (unverified).
    """
    repository = enter(ask.world, caller.principal, ask.image, DELETE_ARTIFACTS)
    digest = check_digest(ask.reference)
    with ask.world.writing() as rows:
        if blobs.find(rows, repository.name, digest) is None:
            raise RegistryError("BLOB_UNKNOWN", f"Blob {digest} not found", detail={"digest": digest})
        if blobs.in_use(rows, repository.name, digest):
            raise RegistryError("UNSUPPORTED", "Blob is still referenced by one or more manifests: delete those")
        blobs.forget(rows, repository.name, digest)
    return Response(status_code=202)


def _created(ask: Ask, digest: str) -> Response:
    headers = {"Location": ask.location(f"blobs/{digest}"), "Docker-Content-Digest": digest}
    return Response(status_code=201, headers=headers)


def _progress(ask: Ask, upload: Upload, status: int) -> Response:
    headers = {
        "Location": ask.location(f"blobs/uploads/{upload.id}"),
        "Docker-Upload-UUID": upload.id,
        # `0-0` also means none: the header has no way to say "nothing yet".
        "Range": f"0-{max(upload.size - 1, 0)}",
    }
    return Response(status_code=status, headers=headers)


def _mount(ask: Ask, caller: Caller, digest: str) -> bool:
    """Make a blob of another repository visible here. Spec: "Mounting a blob from another repository"."""
    target = ask.image.repository
    source = ask.image
    if given := ask.query.get("from", ""):
        try:
            source = image_of(*split_host(ask.address, given))
        except RegistryError:
            return False
        # Another host is another registry, even where one door leads to both.
        if source.host != ask.image.host or not caller.covers(source, "pull"):
            return False
        if not may(ask.world, caller.principal, DOWNLOAD, source):
            return False
    with ask.world.reading() as rows:
        blob = blobs.find(rows, source.repository, digest)
    if blob is None:
        return False
    if source.repository != target:
        with ask.world.writing() as rows:
            if blobs.find(rows, source.repository, digest) is None:
                return False
            blobs.record(rows, ask.world, target, digest, blob.size)
    return True


def _open(ask: Ask, caller: Caller) -> Upload | Response:
    enter(ask.world, caller.principal, ask.image, UPLOAD)
    if mounted := ask.query.get("mount"):
        if _mount(ask, caller, check_digest(mounted)):
            return _created(ask, mounted)
    digest = ask.query.get("digest")
    algorithm = check_digest(digest).split(":", 1)[0] if digest else ask.query.get("digest-algorithm", "sha256")
    if algorithm not in ("sha256", "sha512"):
        raise RegistryError("DIGEST_INVALID", f"Unknown digest algorithm {algorithm[:40]!r}")
    return uploads.begin(ask.world, ask.image.repository, algorithm)


async def begin(ask: Ask, caller: Caller, request: Request) -> Response:
    """POST /v2/<name>/blobs/uploads/: mount, push at once, or open an upload. Spec: "Pushing blobs"."""
    _refuse_large(ask)
    upload = await asyncio.to_thread(_open, ask, caller)
    if isinstance(upload, Response):
        return upload
    digest = ask.query.get("digest")
    if not digest:
        return _progress(ask, upload, 202)
    await _append(ask, upload, request.stream())
    return await _close(ask, upload, digest)


def _resume(ask: Ask, caller: Caller) -> Upload:
    enter(ask.world, caller.principal, ask.image, UPLOAD)
    return uploads.find(ask.world, ask.image.repository, ask.reference)


async def status(ask: Ask, caller: Caller) -> Response:
    """GET /v2/<name>/blobs/uploads/<id>. Spec: "Pushing a blob in chunks", the last paragraph."""
    return _progress(ask, await asyncio.to_thread(_resume, ask, caller), 204)


async def cancel(ask: Ask, caller: Caller) -> Response:
    """DELETE /v2/<name>/blobs/uploads/<id>. Spec: "Cancel a blob upload"."""
    upload = await asyncio.to_thread(_resume, ask, caller)
    if upload.busy:
        raise RegistryError("BLOB_UPLOAD_INVALID", "Another request is writing to this upload", http_status=409)
    await uploads.in_thread(uploads.discard, ask.world, upload)
    return Response(status_code=204)


async def append(ask: Ask, caller: Caller, request: Request) -> Response:
    """PATCH /v2/<name>/blobs/uploads/<id>: the whole blob in one streamed piece, as docker sends it."""
    _refuse_large(ask)
    upload = await asyncio.to_thread(_resume, ask, caller)
    _check_order(ask, upload)
    await _append(ask, upload, _only_chunk(upload, request.stream()))
    return _progress(ask, upload, 202)


async def complete(ask: Ask, caller: Caller, request: Request) -> Response:
    """PUT /v2/<name>/blobs/uploads/<id>?digest=D, with the blob or after it. Spec: "POST then PUT"."""
    _refuse_large(ask)
    upload = await asyncio.to_thread(_resume, ask, caller)
    digest = check_digest(ask.query.get("digest", ""))
    _check_order(ask, upload)
    await _append(ask, upload, _only_chunk(upload, request.stream()))
    return await _close(ask, upload, digest)


def _refuse_large(ask: Ask) -> None:
    declared = ask.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > uploads.REQUEST_LIMIT:
        raise uploads.too_large(uploads.REQUEST_LIMIT)


def _check_order(ask: Ask, upload: Upload) -> None:
    """A chunk that says where it begins must begin where the upload ends. Spec: "Pushing a blob in chunks"."""
    if not (value := ask.headers.get("content-range")):
        return
    match = _CONTENT_RANGE.fullmatch(value)
    length = ask.headers.get("content-length", "")
    if match is None or int(match[1]) != upload.size or (length and int(length) != int(match[2]) - int(match[1]) + 1):
        refusal = _progress(ask, upload, 416)
        raise RegistryError(
            "RANGE_INVALID",
            f"The chunk {value[:80]!r} does not continue this upload of {upload.size} bytes",
            headers={name: refusal.headers[name] for name in ("Location", "Range", "Docker-Upload-UUID")},
        )


async def _only_chunk(upload: Upload, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body, refused when it would be a second piece.

    "Artifact Registry does not support Docker chunked uploads [...] You must use monolithic uploads"
    (https://cloud.google.com/artifact-registry/docs/docker/pushing-and-pulling). unverified: code and text; 405 is
    what clients and the conformance suite read as "not supported here". The upload itself stays usable.
    """
    whole = upload.size == 0
    async for chunk in chunks:
        if chunk and not whole:
            raise RegistryError(
                "UNSUPPORTED",
                "Chunked uploads are not supported: send the blob in one request",
                headers={"Allow": "GET, PUT, DELETE"},
            )
        yield chunk


async def _append(ask: Ask, upload: Upload, chunks: AsyncIterator[bytes]) -> None:
    before = upload.size
    try:
        await uploads.receive(upload, chunks)
    except BaseException:
        # Half a body is of no use, since it could not be continued; what came whole before stays.
        if upload.size != before and not upload.busy:
            await uploads.in_thread(uploads.discard, ask.world, upload)
        raise


async def _close(ask: Ask, upload: Upload, digest: str) -> Response:
    size = upload.size
    await uploads.in_thread(uploads.finish, ask.world, upload, digest)
    await asyncio.to_thread(_record, ask, digest, size)
    return _created(ask, digest)


def _record(ask: Ask, digest: str, size: int) -> None:
    with ask.world.writing() as rows:
        if find_repository(rows, ask.image.repository) is None:
            raise RegistryError("NAME_UNKNOWN", f'Repository "{ask.image.repository_id}" not found')
        blobs.record(rows, ask.world, ask.image.repository, digest, size)
