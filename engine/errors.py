"""What the engine refuses, with the status of HTTP that says so."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """A call that can't be done. `str()` is the sentence that the client prints."""

    def __init__(self, message: str, status: int = 500, *, code: int = 0) -> None:
        super().__init__(message)
        self.status = status
        # The exit code of the process that failed, which the client takes for its own.
        self.exit_code = code

    def detail(self) -> dict[str, Any]:
        """Return it as a line of an answer that has begun."""
        code = {"code": self.exit_code} if self.exit_code else {}
        return {"errorDetail": {**code, "message": str(self)}, "error": str(self)}


def not_found(message: str) -> Refused:
    """Return a refusal for what isn't there."""
    return Refused(message, 404)


def bad_request(message: str) -> Refused:
    """Return a refusal for what can't be understood."""
    return Refused(message, 400)


def conflict(message: str) -> Refused:
    """Return a refusal for what something else stands in the way of."""
    return Refused(message, 409)


def unsupported(what: str) -> Refused:
    """Return a refusal for what this engine has no means to do."""
    return Refused(f"the workbook's engine does not do this: {what}", 501)
