"""What the engine refuses, with the status of HTTP that says so."""

from __future__ import annotations


class Refused(Exception):
    """A call that can't be done. `str()` is the sentence that the client prints."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


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
