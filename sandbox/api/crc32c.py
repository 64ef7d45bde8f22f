"""Castagnoli's checksum, which clients of Cloud Storage and of Secret Manager send and compare."""

from __future__ import annotations

import base64


def _row(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = tuple(_row(byte) for byte in range(256))


def of(content: bytes, before: int = 0) -> int:
    """Return the checksum of bytes, which may go on from those whose checksum is `before`."""
    crc, table = before ^ 0xFFFFFFFF, _TABLE
    for byte in content:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def in_base64(checksum: int) -> str:
    """Return it as an object's `crc32c`: RFC 4648 of four bytes, the most significant first."""
    return base64.b64encode(checksum.to_bytes(4, "big")).decode()
