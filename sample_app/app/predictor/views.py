"""``POST /predict`` for programs and ``/`` for people. Both ask the same model through the same checks."""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from predictor import inputs, model, prefix

# Loaded once; predictor.wsgi sees to it that this happens when the process starts.
MODEL = model.load(settings.MODEL_FILE)


def refusal(status: int, message: str, fields: Mapping[str, str] | None = None) -> JsonResponse:
    """``{"error", "fields": {field: reason}}``."""
    return JsonResponse({"error": message, "fields": dict(fields or {})}, status=status)


def prediction(values: Mapping[str, float]) -> dict[str, Any]:
    """``{"prediction", "probabilities": {species: p}, "model_version"}``."""
    by_class = model.probabilities(MODEL, values)
    return {
        "prediction": model.most_likely(by_class),
        "probabilities": by_class,
        "model_version": settings.MODEL_VERSION,
    }


def unusable(request: HttpRequest, largest: int) -> JsonResponse | None:
    """Refuse what isn't a POST of JSON of at most `largest` bytes, before anything of its body is read."""
    if request.method != "POST":
        refused = refusal(405, "Send the values with POST.")
        refused["Allow"] = "POST"
        return refused
    if request.content_type != "application/json":
        return refusal(415, "Send JSON, with Content-Type: application/json.")
    if "CONTENT_LENGTH" not in request.META or not request.META["CONTENT_LENGTH"]:
        return refusal(411, "Send the body in one piece, with a Content-Length.")
    if int(request.META["CONTENT_LENGTH"]) > largest:
        return refusal(413, f"The body is larger than {largest} bytes.")
    return None


# CSRF protects a visitor's cookies from being used by another site. This endpoint reads no cookie, changes nothing and
# takes only application/json, which a foreign page can't send without asking first. So there is nothing to protect.
@csrf_exempt
def predict(request: HttpRequest) -> HttpResponse:
    """200 ``{"prediction", "probabilities", "model_version"}``; 400, 405, 411, 413, 415 ``{"error", "fields"}``."""
    refused = unusable(request, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    if refused:
        return refused
    try:
        values = inputs.check(inputs.parse(request.body), MODEL.features)
    except inputs.InputError as error:
        return refusal(400, error.message, error.reasons)
    return JsonResponse(prediction(values))


def page(request: HttpRequest) -> HttpResponse:
    """Show the form; with POST, show it again with the answer (200) or with what is wrong at each field (400)."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    example = MODEL.examples.get(request.GET.get("example", MODEL.classes[0]), MODEL.examples[MODEL.classes[0]])
    texts = {feature.name: f"{value:g}" for feature, value in zip(MODEL.features, example, strict=True)}
    answer: dict[str, Any] | None = None
    reasons: dict[str, str] = {}
    if request.method == "POST":
        sent = {name: text for name, text in request.POST.dict().items() if name != "csrfmiddlewaretoken"}
        texts = {feature.name: sent.get(feature.name, "") for feature in MODEL.features}
        try:
            values = inputs.check(inputs.from_form(sent), MODEL.features)
            answer = prediction(values) | {"body": json.dumps(values)}
        except inputs.InputError as error:
            reasons = error.reasons
    nonce = secrets.token_urlsafe(16)
    context = {
        "fields": [
            {"feature": feature, "text": texts[feature.name], "reason": reasons.get(feature.name)}
            for feature in MODEL.features
        ],
        "answer": answer,
        "reasons": reasons,
        "model": MODEL,
        "model_version": settings.MODEL_VERSION,
        "address": prefix.address(request),
        "nonce": nonce,
    }
    response = render(request, "page.html", context, status=400 if reasons else 200)
    response["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    response["Cache-Control"] = "no-store"
    return response
