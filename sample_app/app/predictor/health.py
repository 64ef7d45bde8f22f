"""``GET /health``: is this process up, and which model does it serve?

The path is ``/health`` and not ``/healthz``: on Cloud Run, Google's front end keeps some paths that end in z for
itself, ``/healthz`` among them. A request to such a path never reaches the container.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse


def answer_health(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that answers ``/health`` first.

    It stands before Django's check of the Host header. A probe asks by the container's address, which is in nobody's
    ALLOWED_HOSTS, and a healthy container must not look ill because of that.
    """
    return lambda request: answer(request) if request.path_info == "/health" else get_response(request)


def answer(request: HttpRequest) -> HttpResponse:
    """200 ``{"status", "model_version"}``, 405 for all but GET and HEAD."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return JsonResponse({"status": "ok", "model_version": settings.MODEL_VERSION})
