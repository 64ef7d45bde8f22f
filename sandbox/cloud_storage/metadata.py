"""The metadata of an object: the fields in the upload request, and checksums.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects and recordings of 2026 (tests/observed/facts).
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import google_crc32c

from sandbox.api import shapes
from sandbox.cloud_storage.objects import Stored
from sandbox.errors import invalid, unimplemented
from sandbox.state.world import World

_PIECE = 1 << 20  # bytes per read
_HEADERS = {
    "cacheControl": "cache-control",
    "contentDisposition": "content-disposition",
    "contentEncoding": "content-encoding",
    "contentLanguage": "content-language",
}
_GIVEN = {*_HEADERS, "metadata", "contentType", "crc32c", "md5Hash", "name", "bucket", "storageClass"}
# Ignored in requests, as on Google; gcloud sends the size.
_OUTPUT_ONLY = {
    "kind", "id", "selfLink", "mediaLink", "generation", "metageneration", "size", "timeCreated", "updated", "etag",
    "timeFinalized", "timeStorageClassUpdated",
}  # fmt: skip


class _Given(shapes.Shape):
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    content_type: str | None = None
    metadata: dict[str, str] | None = None
    crc32c: str | None = None
    md5_hash: str | None = None
    storage_class: str | None = None
    bucket: str | None = None


def check(about: dict[str, Any], bucket: str) -> dict[str, Any]:
    """Return the metadata in an upload request.

    Raises:
        ApiError: INVALID_ARGUMENT; UNIMPLEMENTED for a field that the sandbox does not store.
    """
    given = shapes.check(_Given, about)
    if unknown := set(given) - _GIVEN - _OUTPUT_ONLY:
        raise unimplemented(f"{min(unknown)} of an object")
    if given.get("storageClass", "STANDARD") != "STANDARD":
        raise unimplemented(f"objects of the class {given['storageClass']}")
    if given.get("bucket", bucket) != bucket:
        raise invalid("The bucket in the object's metadata is another one.")  # unverified: the sentence
    return given


def keep(given: Mapping[str, Any], content: Path, checksum: str) -> str:
    """Return a new object's metadata to store, as JSON.

    Args:
        checksum: the content's `md5Hash`.

    Raises:
        ApiError: INVALID_ARGUMENT if a checksum in the request is wrong.
    """
    found = 0
    with content.open("rb") as file:
        while piece := file.read(_PIECE):
            found = google_crc32c.extend(found, piece)
    # The format of `crc32c` is base64 of four bytes, most significant first.
    ours = base64.b64encode(found.to_bytes(4, "big")).decode()
    for field, name, own in (("crc32c", "CRC32C", ours), ("md5Hash", "MD5 hash", checksum)):
        if given.get(field) and given[field] != own:
            raise invalid(f'Provided {name} "{given[field]}" doesn\'t match calculated {name} "{own}".')
    kept = {field: given[field] for field in (*_HEADERS, "metadata") if given.get(field)}
    return json.dumps({**kept, "crc32c": ours})


def fields(stored: Stored) -> dict[str, Any]:
    """Return an object's stored metadata and its etag."""
    etag = base64.b64encode(stored.generation.to_bytes(8, "big")).decode()
    return {**json.loads(stored.fields), "etag": etag}


def headers(world: World, stored: Stored) -> dict[str, str]:
    """Return the headers of a download."""
    known = fields(stored)
    size = str(stored.size(world))
    hashes = [f"crc32c={known['crc32c']}"] if "crc32c" in known else []
    hashes += [f"md5={stored.md5}"] if stored.md5 else []
    answer = {
        "etag": known["etag"],
        "last-modified": formatdate(dt.datetime.fromisoformat(stored.create_time).timestamp(), usegmt=True),
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": "1",
        "x-goog-storage-class": "STANDARD",
        "x-goog-stored-content-encoding": known.get("contentEncoding", "identity"),
        "x-goog-stored-content-length": size,
    }
    if hashes:
        answer["x-goog-hash"] = ",".join(hashes)
    answer |= {name: known[field] for field, name in _HEADERS.items() if field in known}
    answer |= {f"x-goog-meta-{key}": value for key, value in known.get("metadata", {}).items() if _fits(key, value)}
    return answer


def _fits(key: str, value: str) -> bool:
    return key.isascii() and key.isprintable() and ":" not in key and " " not in key and value.isprintable()
