"""Refusals of the hosts of package formats: a status and a sentence, as plain text."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import PlainTextResponse, Response


class PackageRefusal(Exception):
    """A request is refused.

    Args:
        message: one sentence; a line feed is added when it is sent, as in the reports of twine's users.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the answer."""
        return PlainTextResponse(f"{self.message}\n", self.status, self.headers)


def not_supported(verb: str, *allowed: str) -> PackageRefusal:
    """Return a 405."""
    return PackageRefusal(
        405, f"{verb} is not supported here, only {', '.join(allowed)}.", {"Allow": ", ".join(allowed)}
    )


def too_large(limit: int) -> PackageRefusal:
    """Return a 413 that closes the connection, since the rest of the body is not read. # unverified: code and text."""
    return PackageRefusal(
        413, f"The request is larger than {limit} bytes, the most that one request may carry.", {"Connection": "close"}
    )
