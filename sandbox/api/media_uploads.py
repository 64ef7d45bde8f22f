"""Media uploads of Google APIs: multipart, with the metadata in the same body, and resumable, in several requests.

Source: https://cloud.google.com/storage/docs/json_api/v1/how-tos/upload and facts/gcloud.md "builds": gcloud's
multipart upload has boundaries in single quotes and bare line feeds; a resumable one gets 308 until it is complete.
"""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from starlette.responses import Response

from sandbox.api import strict_json
from sandbox.api.methods import Call
from sandbox.errors import ApiError, invalid

_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")
_PIECE = 1 << 20  # bytes per read
_LONGEST_HEAD = 256 << 10  # bytes of a multipart upload's metadata, and of the head of its media
_BLANK = re.compile(rb"\r?\n\r?\n")
_BOUNDARY = re.compile(r"boundary=(?:'([^']+)'|\"([^\"]+)\"|([^;\s]+))")


def body(call: Call) -> BinaryIO:
    """Return the request's body as a file, whether it is in memory or on disk."""
    return call.body or io.BytesIO(call.content)


def _size(body: BinaryIO) -> int:
    size = body.seek(0, io.SEEK_END)
    body.seek(0)
    return size


def parts(call: Call, file: BinaryIO) -> tuple[dict[str, Any], str]:
    """Write the media of a multipart/related upload to a file, and return the metadata and the media's type."""
    match = _BOUNDARY.search(call.headers.get("content-type", ""))
    if match is None:
        raise invalid("The multipart upload names no boundary.")
    boundary = b"--" + next(group for group in match.groups() if group).encode()
    media = body(call)
    head = media.read(_LONGEST_HEAD)
    # The preamble, the metadata, and the beginning of the media with its headers
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
    # The standard's line end is CRLF; gcloud sends LF. The one before a boundary belongs to the boundary.
    end = (b"\r\n" if blank[0].startswith(b"\r") else b"\n") + boundary
    _copy_until(end, boundary, pieces[2][blank.end() :], media, file)
    return found, kind[1].decode("latin-1").strip() if kind else ""


def _copy_until(end: bytes, boundary: bytes, begun: bytes, body: BinaryIO, file: BinaryIO) -> None:
    """Write what precedes the boundary, which must be the last one and end the body."""
    held = begun
    while (place := held.find(boundary)) < 0:
        more = body.read(_PIECE)
        if not more:
            raise _no_parts()
        # The last bytes may be the beginning of the boundary.
        keep = len(held) - min(len(held), len(end))
        file.write(held[:keep])
        held = held[keep:] + more
    rest = held[place + len(boundary) :] + body.read(_LONGEST_HEAD)
    if not rest.startswith(b"--") or boundary in rest or body.read(1):
        raise _no_parts()
    file.write(held[:place].removesuffix(end.removesuffix(boundary)))


def _no_parts() -> ApiError:
    return invalid("A multipart upload has two parts: metadata and media.")


def take_piece(call: Call, part: Path, largest: int) -> Response | None:
    """Append a piece of a resumable upload. Return None if the upload is complete, else 308 with its size so far.

    Raises:
        ApiError: OUT_OF_RANGE (416) if the piece doesn't start at the upload's end; INVALID_ARGUMENT if it is too long.
    """
    match = _CONTENT_RANGE.fullmatch(call.headers.get("content-range", ""))
    have, piece = part.stat().st_size, body(call)
    size = _size(piece)
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
    if have + size > largest:
        raise invalid(f"An upload has at most {largest} bytes in the workbook's sandbox.")
    with part.open("ab") as file:
        shutil.copyfileobj(piece, file, _PIECE)
    have += size
    if total == "*" or have < int(total):
        return Response(status_code=308, headers={"Range": f"bytes=0-{have - 1}"} if have else {})
    return None
