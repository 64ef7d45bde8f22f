"""Refusals that Django makes before a view runs, in words that say what to do."""

from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.http import HttpRequest, HttpResponse


def _text(status: int, message: str) -> HttpResponse:
    return HttpResponse(message + "\n", status=status, content_type="text/plain; charset=utf-8")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400, or 413 for a form that is too large."""
    if isinstance(exception, DisallowedHost):
        return _text(
            400,
            "This server doesn't answer to that host name. Add the name to ALLOWED_HOSTS, "
            "a comma-separated environment variable.",
        )
    if isinstance(exception, RequestDataTooBig):
        return _text(413, "The form is too large. Send only the fields that the page shows.")
    return _text(400, "The request can't be read.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form that comes from somewhere else, or seems to."""
    return _text(
        403,
        f"{reason} If the page is served under another address than the one this server sees, name that "
        "address in CSRF_TRUSTED_ORIGINS, for example https://service.example.com. Then load the page "
        "again.",
    )
