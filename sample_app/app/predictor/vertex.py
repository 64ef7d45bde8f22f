"""What Vertex AI asks of a container that serves predictions, beside this server's own routes.

Vertex AI says in variables where it will ask: ``AIP_HTTP_PORT`` (read in gunicorn.conf.py), ``AIP_HEALTH_ROUTE`` and
``AIP_PREDICT_ROUTE``. Where they aren't set, nothing here answers. Source: "Custom container requirements for
inference", https://docs.cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse

from predictor import health, inputs, views
from predictor.model import Feature

# A request and its answer may have 1.5 MB each. unverified: whether Google counts 10^6 or 2^20 bytes to one MB.
LARGEST = 1_500_000
_REASONS = 20

Middleware = Callable[[HttpRequest], HttpResponse]


def answer_vertex(get_response: Middleware) -> Middleware:
    """Middleware that answers the two routes; it stands before the check of the Host header, as /health does.

    Vertex AI calls the container by an address that nobody can name in ALLOWED_HOSTS. A route that is one of this
    server's own, such as /predict, speaks Vertex AI's form where it is named.
    """
    routes = {
        os.environ.get("AIP_HEALTH_ROUTE", ""): health.answer,
        os.environ.get("AIP_PREDICT_ROUTE", ""): predict,
    }
    routes.pop("", None)
    return lambda request: routes.get(request.path_info, get_response)(request)


def predict(request: HttpRequest) -> HttpResponse:
    """200 ``{"predictions": […]}``, one for each of ``{"instances": […]}``; refusals are those of /predict."""
    refusal = views.unusable(request, LARGEST)
    if refusal:
        return refusal
    try:
        # Not request.body: Django would hold it against the limit of the other route.
        values = _values(_instances(inputs.parse(request.read())), views.MODEL.features)
    except inputs.InputError as error:
        return views.refusal(400, error.message, error.reasons)
    content = json.dumps({"predictions": [views.prediction(one) for one in values]})
    if len(content) > LARGEST:
        return views.refusal(413, f"The answer is larger than {LARGEST} bytes. Send fewer instances at a time.")
    return HttpResponse(content, content_type="application/json")


def _instances(content: Mapping[str, Any]) -> list[Any]:
    wrong = {name: "unknown field" for name in content if name not in ("instances", "parameters")}
    # Vertex AI hands on whatever a client sends. What would change nothing is refused, so that nobody relies on it.
    if content.get("parameters"):
        wrong["parameters"] = "this model takes none"
    instances = content.get("instances")
    if not isinstance(instances, list) or not instances:
        wrong["instances"] = "must be a list of one or more objects"
    if wrong:
        raise inputs.InputError('Send {"instances": [{"field": number, …}, …]}: see fields.', wrong)
    return list(instances or [])


def _values(instances: Sequence[Any], features: Sequence[Feature]) -> list[dict[str, float]]:
    """Return one float per feature for each instance. Raises `inputs.InputError` with the first reasons."""
    values: list[dict[str, float]] = []
    reasons: dict[str, str] = {}
    for place, one in enumerate(instances):
        if not isinstance(one, dict):
            reasons[f"instances[{place}]"] = "must be an object"
            continue
        try:
            values.append(inputs.check(one, features))
        except inputs.InputError as error:
            reasons |= {f"instances[{place}].{name}": reason for name, reason in error.reasons.items()}
        if len(reasons) >= _REASONS:
            break
    if reasons:
        raise inputs.InputError("The instances can't be used: see fields.", reasons)
    return values
