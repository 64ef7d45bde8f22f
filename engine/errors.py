"""Errors of API calls, with their HTTP status."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """The call fails. `str()` is the message that the client prints."""

    def __init__(self, message: str, status: int = 500, *, code: int = 0) -> None:
        super().__init__(message)
        self.status = status
        # The exit code of the process that failed, with which the client exits, too.
        self.exit_code = code

    def detail(self) -> dict[str, Any]:
        """Return it as a line of a response that has begun."""
        code = {"code": self.exit_code} if self.exit_code else {}
        return {"errorDetail": {**code, "message": str(self)}, "error": str(self)}


def not_found(message: str) -> Refused:
    """Return an error with status 404."""
    return Refused(message, 404)


def bad_request(message: str) -> Refused:
    """Return an error with status 400."""
    return Refused(message, 400)


def conflict(message: str) -> Refused:
    """Return an error with status 409."""
    return Refused(message, 409)


def unsupported(what: str) -> Refused:
    """Return an error with status 501 for a feature that this engine lacks."""
    return Refused(f"the workbook's engine does not do this: {what}", 501)
