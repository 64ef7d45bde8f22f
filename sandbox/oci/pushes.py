"""Push blobs: in one request, by an upload, or by a mount from another repository."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from sandbox.artifact_registry import blobs, integrity
from sandbox.artifact_registry.blobs import check_digest
from sandbox.artifact_registry.catalog import find_repository
from sandbox.errors import RegistryError
from sandbox.oci import signing, uploads
from sandbox.oci.address import RegistryCall, image_of, split_host
from sandbox.oci.rights import DOWNLOAD, UPLOAD, enter, may
from sandbox.oci.token import Caller
from sandbox.oci.uploads import Upload

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d{1,18}|\*))?")


def _created(call: RegistryCall, digest: str) -> Response:
    headers = {"Location": call.location(f"blobs/{digest}"), "Docker-Content-Digest": digest}
    return Response(status_code=201, headers=headers)


def _progress(call: RegistryCall, caller: Caller, upload: Upload, status: int) -> Response:
    headers = {
        "Location": signing.address_of(call, "upload", upload.id, caller.principal),
        "Docker-Upload-UUID": upload.id,
        # The header cannot express an empty upload, so `0-0` means that too.
        "Range": f"0-{max(upload.size - 1, 0)}",
    }
    return Response(status_code=status, headers=headers)


def _mount(call: RegistryCall, caller: Caller, digest: str) -> bool:
    """Add a blob of another repository, if possible. Spec: "Mounting a blob from another repository"."""
    target = call.image.repository
    source = call.image
    if given := call.query.get("from", ""):
        try:
            source = image_of(*split_host(call.address, given))
        except RegistryError:
            return False
        # Another host is another registry, although the sandbox serves both.
        if source.location != call.image.location or not caller.covers(source, "pull"):
            return False
        if not may(call.world, caller.principal, DOWNLOAD, source):
            return False
    blobs.needed(call.world, digest)
    with call.world.reading() as rows:
        blob = blobs.find(rows, source.repository, digest)
    if blob is None or not integrity.has_size(call.world, digest, blob.size):
        return False
    if source.repository != target:
        with call.world.writing() as rows:
            if blobs.find(rows, source.repository, digest) is None:
                return False
            blobs.record(rows, call.world, target, digest, blob.size)
    return True


def _open(call: RegistryCall, caller: Caller) -> Upload | Response:
    enter(call.world, caller.principal, call.image, UPLOAD)
    mounted = call.query.get("mount")
    if mounted and _mount(call, caller, check_digest(mounted)):
        return _created(call, mounted)
    digest = call.query.get("digest")
    algorithm = check_digest(digest).split(":", 1)[0] if digest else call.query.get("digest-algorithm", "sha256")
    if algorithm not in ("sha256", "sha512"):
        raise RegistryError("DIGEST_INVALID", f"Unknown digest algorithm {algorithm[:40]!r}")
    return uploads.begin(call.world, call.image.repository, algorithm)


async def begin(call: RegistryCall, caller: Caller, request: Request) -> Response:
    """Handle POST /v2/<name>/blobs/uploads/: mount or push a blob, or open an upload. Spec: "Pushing blobs"."""
    _refuse_large(call)
    # Without a mount this only reads a few rows, which costs less than a thread switch.
    upload = await asyncio.to_thread(_open, call, caller) if "mount" in call.query else _open(call, caller)
    if isinstance(upload, Response):
        return upload
    digest = call.query.get("digest")
    if not digest:
        return _progress(call, caller, upload, 202)
    await _append(call, upload, request.stream())
    return await _close(call, upload, digest)


def _resume(call: RegistryCall, caller: Caller) -> Upload:
    enter(call.world, caller.principal, call.image, UPLOAD)
    return uploads.find(call.world, call.image.repository, call.reference)


async def status(call: RegistryCall, caller: Caller) -> Response:
    """Handle GET of an upload's address. Spec: "Pushing a blob in chunks", the last paragraph."""
    return _progress(call, caller, _resume(call, caller), 204)


async def cancel(call: RegistryCall, caller: Caller) -> Response:
    """Handle DELETE of an upload's address. Spec: "Cancel a blob upload"."""
    upload = _resume(call, caller)
    uploads.lock(upload)
    await uploads.in_thread(uploads.discard, call.world, upload)
    return Response(status_code=204)


async def append(call: RegistryCall, caller: Caller, request: Request) -> Response:
    """Handle PATCH of an upload's address: receive the whole blob in one request, as docker sends it."""
    _refuse_large(call)
    upload = _resume(call, caller)
    _check_order(call, caller, upload)
    await _append(call, upload, _only_chunk(upload, request.stream()))
    return _progress(call, caller, upload, 202)


async def complete(call: RegistryCall, caller: Caller, request: Request) -> Response:
    """Handle PUT of an upload's address?digest=D, with the blob or after it. Spec: "POST then PUT"."""
    _refuse_large(call)
    upload = _resume(call, caller)
    digest = check_digest(call.query.get("digest", ""))
    _check_order(call, caller, upload)
    await _append(call, upload, _only_chunk(upload, request.stream()))
    return await _close(call, upload, digest)


def _refuse_large(call: RegistryCall) -> None:
    declared = call.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > uploads.REQUEST_LIMIT:
        raise uploads.too_large(uploads.REQUEST_LIMIT)


def _check_order(call: RegistryCall, caller: Caller, upload: Upload) -> None:
    """Check that a chunk with a Content-Range begins at the upload's end. Spec: "Pushing a blob in chunks"."""
    if not (value := call.headers.get("content-range")):
        return
    match = _CONTENT_RANGE.fullmatch(value)
    length = call.headers.get("content-length", "")
    if match is None or int(match[1]) != upload.size or (length and int(length) != int(match[2]) - int(match[1]) + 1):
        refusal = _progress(call, caller, upload, 416)
        raise RegistryError(
            "RANGE_INVALID",
            f"The chunk {value[:80]!r} does not continue this upload of {upload.size} bytes",
            headers={name: refusal.headers[name] for name in ("Location", "Range", "Docker-Upload-UUID")},
        )


async def _only_chunk(upload: Upload, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the body, or raise if it is a second chunk. The upload stays usable.

    "Artifact Registry does not support Docker chunked uploads [...] You must use monolithic uploads"
    (https://cloud.google.com/artifact-registry/docs/docker/pushing-and-pulling). unverified: code and message; clients
    and the conformance suite understand 405 as "not supported here".
    """
    is_first = upload.size == 0
    async for chunk in chunks:
        if chunk and not is_first:
            raise RegistryError(
                "UNSUPPORTED",
                "Chunked uploads are not supported: send the blob in one request",
                headers={"Allow": "GET, PUT, DELETE"},
            )
        yield chunk


async def _append(call: RegistryCall, upload: Upload, chunks: AsyncIterator[bytes]) -> None:
    before = upload.size
    try:
        await uploads.receive(upload, chunks)
    except BaseException:
        # A partial body could not be continued, so it is discarded; an earlier complete one is kept.
        if upload.size != before and not upload.busy:
            await uploads.in_thread(uploads.discard, call.world, upload)
        raise


async def _close(call: RegistryCall, upload: Upload, digest: str) -> Response:
    # No other request may append between the hash and the move.
    uploads.lock(upload)
    await uploads.in_thread(_store, call, upload, digest)
    return _created(call, digest)


def _store(call: RegistryCall, upload: Upload, digest: str) -> None:
    size = upload.size
    uploads.finish(call.world, upload, digest)
    with call.world.writing() as rows:
        if find_repository(rows, call.image.repository) is None:
            raise RegistryError("NAME_UNKNOWN", f'Repository "{call.image.repository_id}" not found')
        blobs.record(rows, call.world, call.image.repository, digest, size)
