"""Stream the bodies of uploads into files of the uploads folder, which is emptied at the start after a crash."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request

from sandbox.package_hosts.refusals import PackageRefusal, too_large
from sandbox.state.world import World

# "9.9 GB per request", https://cloud.google.com/artifact-registry/quotas
REQUEST_LIMIT = 9_900_000_000  # bytes

_BATCH = 1 << 20  # bytes that are passed to a thread at once
_HEAD = 8 << 10  # bytes of a part's head at most
_PARTS = 1000  # parts of one form at most
_FIELD = 64 << 10  # bytes of a text field at most


@contextmanager
def scratch(world: World) -> Iterator[Path]:
    """Yield a path that no other upload uses; a file at that path is removed at the end."""
    path = world.folder / "uploads" / f"package-{secrets.token_hex(16)}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


async def receive(request: Request, path: Path, limit: int = REQUEST_LIMIT) -> int:
    """Write a request's body into a file and return its length.

    Raises:
        PackageRefusal: 413 as soon as the body exceeds the limit.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    total = 0
    held: list[bytes] = []
    with path.open("wb") as file:
        async for chunk in request.stream():
            total += len(chunk)
            if total > limit:
                raise too_large(limit)
            held.append(chunk)
            if sum(map(len, held)) >= _BATCH:
                await asyncio.to_thread(file.writelines, held)
                held = []
        await asyncio.to_thread(file.writelines, held)
    return total


class Form:
    """A form in a file, as multipart/form-data (RFC 7578).

    Args:
        content_type: the request's header.

    Raises:
        PackageRefusal: 400 if the file is no such form.
    """

    def __init__(self, file: BinaryIO, content_type: str) -> None:
        self._file = file
        self._parts: dict[str, tuple[int, int, str]] = {}
        head = BytesHeaderParser(policy=policy.HTTP).parsebytes(
            f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
        )
        boundary = head.get_param("boundary", header="content-type")
        if head.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
            raise _malformed("The body is no form of the type multipart/form-data")
        for start, end, name, file_name in _parts(file, b"--" + boundary.encode("latin-1", "replace")):
            self._parts.setdefault(name, (start, end, file_name))

    def text(self, name: str) -> str:
        """Return the text of a field; empty if the form does not have it."""
        start, end, _ = self._parts.get(name, (0, 0, ""))
        if end - start > _FIELD:
            raise _malformed(f"The field {name} is longer than {_FIELD} bytes")
        self._file.seek(start)
        try:
            return self._file.read(end - start).decode()
        except UnicodeDecodeError:
            raise _malformed(f"The field {name} is not text in UTF-8") from None

    def has(self, name: str) -> bool:
        """Return whether the form has a field."""
        return name in self._parts

    def file_name(self, name: str) -> str:
        """Return the file name that the client gave a part."""
        return self._parts.get(name, (0, 0, ""))[2]

    def copy(self, name: str, path: Path, *algorithms: str) -> tuple[int, dict[str, str]]:
        """Write a part into a file and return its length and its hexadecimal digests by algorithm."""
        start, end, _ = self._parts[name]
        hashed = [hashlib.new(algorithm) for algorithm in algorithms]
        self._file.seek(start)
        left = end - start
        with path.open("wb") as target:
            while left and (chunk := self._file.read(min(left, _BATCH))):
                left -= len(chunk)
                target.write(chunk)
                for digest in hashed:
                    digest.update(chunk)
        return end - start, {name: digest.hexdigest() for name, digest in zip(algorithms, hashed, strict=True)}


def _malformed(reason: str) -> PackageRefusal:
    return PackageRefusal(400, f"{reason}.")  # unverified: the texts


def _find(file: BinaryIO, wanted: bytes, start: int) -> int:
    """Return the first offset of some bytes at or after `start`, or -1; reads the file in pieces."""
    keep = len(wanted) - 1
    file.seek(start)
    held, at = b"", start
    while piece := file.read(_BATCH):
        held += piece
        if (found := held.find(wanted)) >= 0:
            return at + found
        at += len(held) - min(keep, len(held))
        held = held[len(held) - min(keep, len(held)) :]
    return -1


def _parts(file: BinaryIO, delimiter: bytes) -> Iterator[tuple[int, int, str, str]]:
    """Yield the start, end, name and file name of each part."""
    file.seek(0)
    if file.read(len(delimiter)) != delimiter:
        raise _malformed("The form does not begin with its boundary")
    place = len(delimiter)
    for _ in range(_PARTS):
        file.seek(place)
        ending = file.read(2)
        if ending == b"--":
            return
        if ending != b"\r\n":
            raise _malformed("A boundary of the form is followed by something else than a line's end")
        head = file.read(_HEAD)
        length = head.find(b"\r\n\r\n")
        if length < 0:
            raise _malformed("The head of a part of the form is too long, or does not end")
        start = place + 2 + length + 4
        end = _find(file, b"\r\n" + delimiter, start)
        if end < 0:
            raise _malformed("The form does not end with its boundary")
        about = BytesHeaderParser(policy=policy.HTTP).parsebytes(head[: length + 4])
        name = about.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise _malformed("A part of the form has no name")
        yield start, end, name, about.get_filename("") or ""
        place = end + 2 + len(delimiter)
    raise _malformed(f"The form has more than {_PARTS} parts")
