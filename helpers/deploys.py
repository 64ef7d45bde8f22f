"""Cloud Run: deploy an image by digest, send traffic, roll back. It uses the Knative REST API, as gcloud does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import requests
from google.api_core import exceptions

from helpers import names, waiting
from helpers.cell import progress
from helpers.target import LABEL
from helpers.transport import rest

_INVOKER: Final = "roles/run.invoker"
# Cloud Run's default timeout, since a request may have to start an instance:
# https://cloud.google.com/run/docs/configuring/request-timeout
_REQUEST_SECONDS: Final = 300


class NotDeployed(RuntimeError):
    """A revision that doesn't serve. The message is Cloud Run's."""


@dataclass(frozen=True)
class Service:
    """A deployed service. `traffic` maps revisions to percent, `revision` is the newest that is ready."""

    name: str
    url: str
    ready: bool
    message: str
    revision: str
    traffic: Mapping[str, int]


def deploy(
    location: names.Location,
    name: str,
    image: names.Digest,
    *,
    account: str = "",
    environment: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    run: str = "",
    seconds: float = 300.0,
) -> Service:
    """Deploy an image as `gcloud run deploy` does, and wait until the new revision serves all traffic.

    `account` is the e-mail address it runs as, `run` the value of the run's label. `secrets` maps variables to
    `SECRET:VERSION` in Secret Manager, which the account must be allowed to read.
    Raises NotDeployed when the revision doesn't serve, TimeoutError after `seconds`, and GoogleAPICallError.
    """
    container: dict[str, Any] = {
        "image": str(image),
        "env": [{"name": key, "value": value} for key, value in (environment or {}).items()],
    }
    for key, secret in (secrets or {}).items():
        named, _, version = secret.partition(":")
        reference = {"secretKeyRef": {"name": named, "key": version or "latest"}}
        container["env"].append({"name": key, "valueFrom": reference})
    if command:
        container |= {"command": list(command)}
    # A value that changes, so that the same image gets a new revision.
    template = {
        "metadata": {"annotations": {"workbook/deployed": f"{time.time():.3f}"}},
        "spec": {"containers": [container]} | ({"serviceAccountName": account} if account else {}),
    }
    labels = {LABEL: run} if run else {}
    before = rest.find(_url(location, name))
    body: dict[str, Any] = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": str(location.project), "labels": labels},
        "spec": {"template": template, "traffic": [{"latestRevision": True, "percent": 100}]},
    }
    if before is None:
        rest.call("POST", _services(location), json=body)
    else:
        body["metadata"]["labels"] |= before["metadata"].get("labels", {})
        body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        rest.call("PUT", _url(location, name), json=body)
    return _wait(location, name, seconds)


def describe(location: names.Location, name: str) -> Service | None:
    """Return the service, or None when it doesn't exist."""
    found = rest.find(_url(location, name))
    return None if found is None else _service(found)


def services(location: names.Location, run: str) -> tuple[str, ...]:
    """Return the names of the services with the run's label."""
    found = rest.call("GET", _services(location), params={"labelSelector": f"{LABEL}={run}"})
    return tuple(one["metadata"]["name"] for one in found.get("items", []))


def revisions(location: names.Location, name: str) -> tuple[tuple[str, bool, str], ...]:
    """Return the name, the readiness and the image's digest of every revision, newest first."""
    url = _services(location).replace("/services", "/revisions")
    found = rest.call("GET", url, params={"labelSelector": f"serving.knative.dev/service={name}"})
    return tuple(
        (
            one["metadata"]["name"],
            _condition(one).get("status") == "True",
            one["status"].get("imageDigest", "").rpartition("@")[2],
        )
        for one in found.get("items", [])
    )


def variables(location: names.Location, name: str) -> dict[str, str]:
    """Return the environment of the newest ready revision, with `secret NAME:VERSION` for secrets."""
    service = describe(location, name)
    if service is None or not service.revision:
        return {}
    found = rest.call("GET", f"{_services(location).replace('/services', '/revisions')}/{service.revision}")
    result = {}
    for entry in found["spec"]["containers"][0].get("env", ()):
        key = entry.get("valueFrom", {}).get("secretKeyRef")
        result[entry["name"]] = f"secret {key['name']}:{key['key']}" if key else entry.get("value", "")
    return result


def route(location: names.Location, name: str, traffic: Mapping[str, int], *, seconds: float = 120.0) -> Service:
    """Send traffic to revisions by percent. Raises GoogleAPICallError, for example when they don't add up to 100."""
    found = rest.find(_url(location, name))
    if found is None:
        raise exceptions.NotFound(f"There is no service {name}.")  # type: ignore[no-untyped-call]
    found["spec"]["traffic"] = [{"revisionName": revision, "percent": share} for revision, share in traffic.items()]
    found.pop("status", None)
    rest.call("PUT", _url(location, name), json=found)
    # Don't wait for "ready": with a broken newest revision the traffic moves, but the service isn't ready.
    for _ in waiting.attempts(seconds, longest=0.5):
        service = describe(location, name)
        if service is not None and dict(service.traffic) == dict(traffic):
            return service
    raise TimeoutError(f"The traffic of {name} hasn't moved within {seconds:g} seconds.")


def open_to_all(location: names.Location, name: str) -> None:
    """Let everybody call the service, with roles/run.invoker for allUsers."""
    url = f"https://run.googleapis.com/v1/{location.resource}/services/{name}"
    policy = rest.call("GET", f"{url}:getIamPolicy")
    bindings = policy.setdefault("bindings", [])
    if not any(entry["role"] == _INVOKER and "allUsers" in entry["members"] for entry in bindings):
        bindings.append({"role": _INVOKER, "members": ["allUsers"]})
        rest.call("POST", f"{url}:setIamPolicy", json={"policy": policy})


def smoke_test(service: Service, *, path: str = "/health", seconds: float = 60.0) -> int:
    """Call until the status isn't 403, 404 or 503, and return it.

    On Google these come while a service starts, and until a new address and a new policy take effect.
    """
    for _ in waiting.attempts(seconds, longest=0.5):
        status = requests.get(f"{service.url}{path}", timeout=_REQUEST_SECONDS).status_code
        if status not in (403, 404, 503):
            break
    return status


def delete(location: names.Location, name: str) -> None:
    """Delete a service with its revisions, if it exists."""
    with contextlib.suppress(exceptions.NotFound):
        rest.call("DELETE", _url(location, name))


def _services(location: names.Location) -> str:
    return (
        f"https://{location.id}-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{location.project}/services"
    )


def _url(location: names.Location, name: str) -> str:
    return f"{_services(location)}/{name}"


def _condition(found: Mapping[str, Any]) -> dict[str, Any]:
    conditions = found.get("status", {}).get("conditions", [])
    return next((dict(entry) for entry in conditions if entry["type"] == "Ready"), {})


def _service(found: Mapping[str, Any]) -> Service:
    status, ready = found.get("status", {}), _condition(found)
    traffic: dict[str, int] = {}
    for entry in status.get("traffic", ()):
        if entry.get("percent"):
            traffic[entry["revisionName"]] = traffic.get(entry["revisionName"], 0) + int(entry["percent"])
    return Service(
        found["metadata"]["name"],
        status.get("url", ""),
        ready.get("status") == "True",
        ready.get("message", ""),
        status.get("latestReadyRevisionName", ""),
        traffic,
    )


def _wait(location: names.Location, name: str, seconds: float) -> Service:
    with progress.Status(lambda: f"deployment of {name}") as line:
        for _ in waiting.attempts(seconds, longest=0.5):
            line.tick()
            found = rest.find(_url(location, name))
            if found is None:
                continue
            condition = _condition(found)
            same = found["status"].get("observedGeneration") == found["metadata"]["generation"]
            if same and condition.get("status") == "True":
                return _service(found)
            if same and condition.get("status") == "False":
                raise NotDeployed(condition.get("message", "Cloud Run gave no reason."))
    raise TimeoutError(f"{name} isn't ready after {seconds:g} seconds.")
