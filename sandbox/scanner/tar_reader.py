"""Read a layer's archive safely: write nothing, and limit everything.

Layers are untrusted. An archive can neither contain a path outside the image nor make the reader exceed its limits on
bytes, entries, time and the length of a name. Archives inside an archive are not opened.

Format: POSIX.1-2017 pax interchange format, and GNU's long names
(https://www.gnu.org/software/tar/manual/html_node/Standard.html).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final, Literal

from sandbox.scanner.limits import PLACE, Budget, LimitExceeded

# Python 3.14 has it; before that the same module comes as a package.
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_BLOCK: Final = 512
_CHUNK: Final = 1 << 20
_PART: Final = 1 << 16  # compressed bytes in memory
_GZIP: Final = 31  # zlib's wbits for a gzip stream with the largest window
# The largest window, 128 MiB as a power of two, which is the zstd tool's default limit
_ZSTD_WINDOW: Final = 27
_HEADER_LIMIT: Final = 1 << 20  # bytes of a pax header or a long name
_PATH_LIMIT: Final = 4096  # PATH_MAX of Linux

Kind = Literal["file", "directory", "symlink", "hardlink", "other"]
_KINDS: Final[dict[bytes, Kind]] = {
    b"\0": "file",
    b"0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"5": "directory",
}


class LayerUnreadable(ValueError):
    """The layer has an unknown format, or is damaged. The message says which."""


@dataclass(frozen=True)
class Entry:
    """One member of a layer.

    Attributes:
        path: relative to the image's root, `usr/lib/os-release`.
        link: target of a link, unchanged from the archive.
        content: of a wanted file; None for other members.
    """

    path: str
    kind: Kind
    link: str = ""
    content: bytes | None = None


def entries(blob: IO[bytes], budget: Budget, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    """Yield the members of a layer in their order, without those outside the root.

    Args:
        blob: the stored layer: a tar archive, plain or compressed with gzip or zstd.
        wanted: whether to read a file's content.

    Raises:
        LayerUnreadable: if the format is unknown or the archive is damaged.
        LimitExceeded: if a limit of the budget is exceeded.
    """
    stream = _Stream(_unpacked(blob, budget), budget)
    longer: dict[str, str] = {}
    while True:
        header = stream.exactly(_BLOCK)
        if header is None or not header.strip(b"\0"):
            # Like an engine, read to the end, to detect damage after the last member.
            stream.drain()
            return
        budget.spend(entries=1)
        size, kind = _checked(header), header[156:157]
        if kind in b"LKxg" and kind:
            if size > _HEADER_LIMIT:
                raise LimitExceeded(f"a name in the archive has more than {_HEADER_LIMIT} bytes")
            longer |= _extension(kind, stream.body(size))
            continue
        if kind == b"S" and header[482]:
            _skip_sparse_map(stream)
        if "size" in longer:
            size = _decimal(longer["size"])
        path = _inside(longer.get("path") or _name(header))
        link = longer.get("linkpath") or _text(header[157:257])
        longer = {}
        # The size of a link or a directory does not mean content.
        known = _KINDS.get(kind, "other")
        if known in ("hardlink", "symlink", "directory"):
            size = 0
        content = None
        if known == "file" and path and wanted(path):
            if size > budget.limits.file:
                raise LimitExceeded(f"{path[:200]} has more than {budget.limits.file} bytes")
            budget.spend(kept=size + PLACE)
            content = stream.body(size)
        else:
            stream.skip(size)
        if path:
            yield Entry(path, known, link, content)


class _Stream:
    """Read blocks from decompressed chunks, counting the bytes."""

    def __init__(self, chunks: Iterator[bytes], budget: Budget) -> None:
        self._chunks = chunks
        self._budget = budget
        self._held = b""
        self._at = 0

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        if not chunk:
            return False
        self._budget.spend(unpacked=len(chunk))
        self._held, self._at = self._held[self._at :] + chunk, 0
        return True

    def exactly(self, count: int) -> bytes | None:
        """Return the next bytes, or None at the archive's end."""
        while len(self._held) - self._at < count:
            if not self._more():
                if len(self._held) > self._at:
                    raise LayerUnreadable("the archive ends in the middle of an entry")
                return None
        found = self._held[self._at : self._at + count]
        self._at += count
        return found

    def body(self, size: int) -> bytes:
        """Return a member's content, and skip the padding after it."""
        parts: list[bytes] = []
        left = size
        while left:
            part = self.exactly(min(left, _CHUNK))
            if part is None:
                raise LayerUnreadable("the archive ends in the middle of an entry")
            parts.append(part)
            left -= len(part)
        self.skip(-size % _BLOCK, padded=False)
        return b"".join(parts)

    def drain(self) -> None:
        """Read and discard the rest."""
        self._held, self._at = b"", 0
        while self._more():
            self._held = b""

    def spend_entry(self) -> None:
        """Count a block that is not a member, which limits the length of a chain of them."""
        self._budget.spend(entries=1)

    def skip(self, size: int, *, padded: bool = True) -> None:
        """Skip bytes, and with `padded` also the padding of the last block."""
        left = size + (-size % _BLOCK if padded else 0)
        while left:
            held = len(self._held) - self._at
            if held:
                step = min(held, left)
                self._at += step
                left -= step
            elif not self._more():
                raise LayerUnreadable("the archive ends in the middle of an entry")


def _unpacked(blob: IO[bytes], budget: Budget) -> Iterator[bytes]:
    """Yield the decompressed archive in chunks of at most 1 MiB."""
    start = blob.read(6)
    blob.seek(0)
    if start[:2] == b"\x1f\x8b":
        yield from _gunzipped(blob, budget)
    elif start[:4] == b"\x28\xb5\x2f\xfd" or (start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50):
        yield from _unzstd(blob, budget)
    elif start[:6] == b"\xfd7zXZ\0" or start[:3] == b"BZh":
        raise LayerUnreadable("the layer is compressed in a way that images do not use")
    else:
        while chunk := blob.read(_CHUNK):
            yield chunk


def _gunzipped(blob: IO[bytes], budget: Budget) -> Iterator[bytes]:
    """Decompress all members of a gzip stream (RFC 1952). Each counts as an entry: a stream may have millions."""
    decoder = zlib.decompressobj(_GZIP)
    held = b""
    try:
        while held or (held := blob.read(_PART)):
            if decoder.eof:
                # Zeros may pad the end.
                held = held.lstrip(b"\0")
                if not held:
                    continue
                budget.spend(entries=1)
                decoder = zlib.decompressobj(_GZIP)
            chunk = decoder.decompress(held, _CHUNK)
            held = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            if chunk:
                yield chunk
        rest = decoder.flush()
    except zlib.error as error:
        raise LayerUnreadable(f"the layer's gzip stream is damaged: {error}") from None
    if rest:
        yield rest
    if not decoder.eof:
        raise LayerUnreadable("the layer's gzip stream is damaged: it ends too early")


def _unzstd(blob: IO[bytes], budget: Budget) -> Iterator[bytes]:
    """Decompress all frames of a zstd stream, including skippable ones (RFC 8878). Each counts as an entry."""
    options = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW}
    decoder = zstd.ZstdDecompressor(options=options)
    begun = False
    try:
        while held := blob.read(_PART):
            budget.spend()
            while held or not (decoder.eof or decoder.needs_input):
                if decoder.eof:
                    budget.spend(entries=1)
                    decoder = zstd.ZstdDecompressor(options=options)
                chunk = decoder.decompress(held, _CHUNK)
                begun = True
                # Until the frame ends, the decoder buffers unread input itself.
                held = decoder.unused_data if decoder.eof else b""
                if chunk:
                    yield chunk
    except zstd.ZstdError as error:
        raise LayerUnreadable(f"the layer's zstd stream is damaged, or its window is too large: {error}") from None
    if begun and not decoder.eof:
        raise LayerUnreadable("the layer's zstd stream is damaged: it ends too early")


def _checked(header: bytes) -> int:
    """Return the member's size, or raise if the header's checksum is wrong."""
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if _number(header[148:156]) != total:
        raise LayerUnreadable("the layer is not a tar archive, or it is damaged")
    return _number(header[124:136])


def _number(digits: bytes) -> int:
    if digits[0] & 0x80:
        # GNU's format for large numbers: big-endian, with the first bit set.
        value = int.from_bytes(digits) - (1 << (8 * len(digits) - 1))
        if value < 0 or value >= 1 << 62:
            raise LayerUnreadable("the archive gives a size that cannot be")
        return value
    text = digits.strip(b" \0")
    if text.strip(b"01234567"):
        raise LayerUnreadable("the layer is not a tar archive, or it is damaged")
    return int(text or b"0", 8)


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise LayerUnreadable("the archive gives a size that cannot be")
    return int(text)


def _extension(kind: bytes, body: bytes) -> dict[str, str]:
    """Return the fields of an extended header for the next member. Global headers (`g`) are ignored."""
    if kind == b"L":
        return {"path": _text(body)}
    if kind == b"K":
        return {"linkpath": _text(body)}
    found: dict[str, str] = {}
    if kind == b"x":
        rest = body
        while rest:
            length, blank, _ = rest.partition(b" ")
            if not blank or not length.isdigit() or not 0 < int(length[:10]) <= len(rest):
                raise LayerUnreadable("a pax header is damaged")
            key, _, value = rest[len(length) + 1 : int(length)].rstrip(b"\n").partition(b"=")
            if key in (b"path", b"linkpath", b"size"):
                found[key.decode()] = value.decode(errors="replace")
            rest = rest[int(length) :]
    return found


def _skip_sparse_map(stream: _Stream) -> None:
    """Skip the map of GNU's old sparse files, which continues in another block if byte 504 is set."""
    while (block := stream.exactly(_BLOCK)) is not None and block[504]:
        stream.spend_entry()


def _text(field_bytes: bytes) -> str:
    return field_bytes.partition(b"\0")[0].decode(errors="replace")


def _name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _inside(path: str) -> str:
    """Return the path relative to the image's root; empty for the root itself and for a path outside it.

    Engines refuse to unpack the latter ("breakout"), so no container has such a member.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or len(path) > _PATH_LIMIT:
        return ""
    return "/".join(parts)
