"""Read request bodies up to a limit, and forms in them."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.requests import Request


class BodyTooLarge(Exception):
    """A body is longer than the limit."""


async def read(request: Request, limit: int) -> bytes:
    """Return a request's body of at most `limit` bytes.

    Raises:
        BodyTooLarge: before anything is read where the length is declared, else at the first byte too many.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise BodyTooLarge
    return bytes(content)


def form(content: bytes) -> dict[str, str]:
    """Return the fields of an `application/x-www-form-urlencoded` body, each with its first value."""
    return {name: values[0] for name, values in parse_qs(content.decode("utf-8", "replace")).items()}
