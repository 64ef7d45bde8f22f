"""Cloud Run's v2 API of services, which the Python client uses. It shares its services with the Knative API.

A request is converted into Knative's specification. Its operation is done when the service is ready or has failed.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from google.cloud.run_v2 import types

from sandbox.api import lists, messages, operations
from sandbox.api.methods import Call, Method
from sandbox.cloud_run import knative, store
from sandbox.errors import ApiError, unimplemented
from sandbox.state.clock import timestamp

Json = dict[str, Any]
_TYPE = "type.googleapis.com/google.cloud.run.v2.Service"
_BASE = "/v2/projects/{project}/locations/{location}"
_STATES = {"True": "CONDITION_SUCCEEDED", "False": "CONDITION_FAILED", "Unknown": "CONDITION_RECONCILING"}
_ID = "run.projects.locations.services"
# Some fields of v2 are annotations in Knative: https://cloud.google.com/run/docs/reference/yaml/v1
_SCALING = {
    "maxInstanceCount": "autoscaling.knative.dev/maxScale",
    "minInstanceCount": "autoscaling.knative.dev/minScale",
}
_CPU_THROTTLING, _CPU_BOOST = "run.googleapis.com/cpu-throttling", "run.googleapis.com/startup-cpu-boost"
_LAUNCH_STAGE = "run.googleapis.com/launch-stage"
# Set by the server, and ignored in a request.
_OUTPUT_ONLY = {
    "uid", "generation", "createTime", "updateTime", "deleteTime", "expireTime", "creator", "lastModifier",
    "observedGeneration", "terminalCondition", "conditions", "latestReadyRevision", "latestCreatedRevision",
    "trafficStatuses", "uri", "urls", "reconciling", "etag", "satisfiesPzs",
}  # fmt: skip
_ALL = "INGRESS_TRAFFIC_ALL"
_PENDING = "CONDITION_PENDING"
# Absent from the first answer to a creation.
_UNKNOWN_YET = {
    *("conditions", "ingress", "latestCreatedRevision", "observedGeneration", "trafficStatuses", "uri", "urls")
}
_KEPT_DELETED = dt.timedelta(days=30)
_SUPPORTED = {"name", "labels", "annotations", "template", "traffic", "launchStage", "ingress"}


def _require(call: Call, permission: str, resource: str) -> None:
    # The message names the project as Knative's does, whatever the resource is: three public reports of 2026.
    knative.require(call, permission, resource, f"namespaces/{call.params['project']}")


def _name(call: Call) -> str:
    return store.resource(call.params["project"], call.params["location"], call.params["service"])


def _condition(found: Json) -> Json:
    answer = {
        "type": found["type"],
        "state": _STATES[found["status"]],
        "message": found.get("message", ""),
        "lastTransitionTime": found["lastTransitionTime"],
    }
    return {key: value for key, value in answer.items() if value}


def _shown_variable(entry: Json) -> Json:
    if "valueFrom" not in entry:
        return {"name": entry["name"], "value": entry.get("value", "")}
    key = entry["valueFrom"]["secretKeyRef"]
    return {"name": entry["name"], "valueSource": {"secretKeyRef": {"secret": key["name"], "version": key["key"]}}}


def _as_knative_variable(entry: Json) -> Json:
    key = entry.get("valueSource", {}).get("secretKeyRef")
    if key is None:
        return entry
    # "projects/P/secrets/S" is refused later, for both versions.
    reference = {"name": key.get("secret", ""), "key": key.get("version", "latest")}
    return {"name": entry.get("name", ""), "valueFrom": {"secretKeyRef": reference}}


def _template(template: Json) -> Json:
    spec, meta = template["spec"], template.get("metadata", {})
    annotations = meta.get("annotations", {})
    container = spec["containers"][0]
    answer: Json = {
        "containers": [
            {
                "image": container["image"],
                "env": [_shown_variable(entry) for entry in container.get("env", ())],
                "ports": container.get("ports", []),
                "command": container.get("command", []),
                "args": container.get("args", []),
                "resources": {
                    "limits": container.get("resources", {}).get("limits", {}),
                    "cpuIdle": annotations.get(_CPU_THROTTLING) != "false",
                    "startupCpuBoost": annotations.get(_CPU_BOOST) == "true",
                },
                **({"startupProbe": container["startupProbe"]} if "startupProbe" in container else {}),
            }
        ],
        "scaling": {field: int(annotations[key]) for field, key in _SCALING.items() if key in annotations},
        "timeout": f"{spec['timeoutSeconds']}s" if "timeoutSeconds" in spec else "",
        "maxInstanceRequestConcurrency": spec.get("containerConcurrency", 0),
        "labels": meta.get("labels", {}),
        "annotations": {key: value for key, value in annotations.items() if not _is_googles(key)},
        "serviceAccount": spec.get("serviceAccountName", ""),
        "revision": meta.get("name", ""),
    }
    return {key: value for key, value in answer.items() if value}


def _is_googles(annotation: str) -> bool:
    return annotation.partition("/")[0].endswith(("knative.dev", "googleapis.com"))


def _traffic(entry: Json) -> Json:
    latest = bool(entry.get("latestRevision"))
    answer = {
        "type": f"TRAFFIC_TARGET_ALLOCATION_TYPE_{'LATEST' if latest else 'REVISION'}",
        "revision": "" if latest else entry.get("revisionName", ""),
        "percent": int(entry.get("percent", 0)),
        "tag": entry.get("tag", ""),
    }
    return {key: value for key, value in answer.items() if value}


def render(name: str, service: Json) -> Json:
    """Return a service as v2's message."""
    status, meta = service["status"], service["metadata"]
    conditions = [_condition(found) for found in status["conditions"]]
    revisions = f"{name}/revisions/"
    answer: Json = {
        "name": name,
        "uid": meta["uid"],
        "generation": str(meta["generation"]),
        "observedGeneration": str(status.get("observedGeneration", 0)),
        "createTime": meta["creationTimestamp"],
        "updateTime": service.get("updateTime", meta["creationTimestamp"]),
        "annotations": {key: value for key, value in meta["annotations"].items() if not _is_googles(key)},
        "launchStage": meta["annotations"].get(_LAUNCH_STAGE, "GA"),
        "creator": meta["annotations"]["serving.knative.dev/creator"],
        "lastModifier": meta["annotations"]["serving.knative.dev/lastModifier"],
        "labels": {key: value for key, value in meta["labels"].items() if not key.startswith("cloud.googleapis.com/")},
        "ingress": _ALL,
        "template": _template(service["spec"]["template"]),
        "traffic": [_traffic(entry) for entry in service["spec"].get("traffic", ())],
        "trafficStatuses": [_traffic(entry) for entry in status.get("traffic", ())],
        "terminalCondition": next(entry for entry in conditions if entry["type"] == "Ready"),
        "conditions": [entry for entry in conditions if entry["type"] != "Ready"],
        "uri": status["url"],
        "urls": [status["url"]],
        "reconciling": conditions[0]["state"] == "CONDITION_RECONCILING",
        "etag": f'"{meta["resourceVersion"]}"',
    }
    for field in ("latestReadyRevision", "latestCreatedRevision"):
        if found := status.get(f"{field}Name"):
            answer[field] = revisions + found
    return messages.render(messages.parse(types.Service.pb(), answer))


def _get(call: Call) -> Json:
    name = _name(call)
    _require(call, "run.services.get", name)
    return render(name, knative.existing(call, name))


def _list(call: Call) -> Json:
    project, place = call.params["project"], call.params["location"]
    _require(call, "run.services.list", f"projects/{project}/locations/{place}")
    found = store.of_project(call.world, project, place)
    chosen, token = lists.page(found, call.query, lambda pair: pair[0])
    return lists.answer("services", [render(*pair) for pair in chosen], token)


def _delete(call: Call) -> Json:
    name = _name(call)
    _require(call, "run.services.delete", name)
    service = knative.existing(call, name)
    now = call.world.now()
    last = {
        **render(name, service),
        "generation": str(service["metadata"]["generation"] + 1),
        "deleteTime": timestamp(now),
        "expireTime": timestamp(now + _KEPT_DELETED),
    }
    knative.remove(call, name)
    number = uuid.uuid4()
    operation = f"projects/{call.params['project']}/locations/{call.params['location']}/operations/{number}"
    begun = {**last, "reconciling": True, "terminalCondition": {**last["terminalCondition"], "state": _PENDING}}
    with call.world.writing() as rows:
        deleted = {"@type": _TYPE, **last}
        return operations.finish(rows, call.world, operation, deleted, deleted, begun={"@type": _TYPE, **begun})


def _specification(requested: Json) -> Json:
    """Return Knative's specification of a v2 service. Refuse fields that have no counterpart in it."""
    if unknown := set(requested) - _SUPPORTED - _OUTPUT_ONLY:
        raise unimplemented(f"{min(unknown)} of a service")
    if requested.get("ingress", _ALL) != _ALL:
        raise unimplemented(f"the ingress {requested['ingress']}; services here are open to all callers")
    template = requested.get("template", {})
    known = {"revision", "labels", "annotations", "containers", "serviceAccount", "timeout", "scaling"}
    if unknown := set(template) - known - {"maxInstanceRequestConcurrency"}:
        raise unimplemented(f"{min(unknown)} in a service's template")
    scaling = template.get("scaling", {})
    annotations = {
        **template.get("annotations", {}),
        **{key: str(scaling[field]) for field, key in _SCALING.items() if field in scaling},
    }
    containers = []
    for container in template.get("containers", ()):
        fields = {"name", "image", "env", "ports", "command", "args", "resources", "startupProbe"}
        if unknown := set(container) - fields:
            raise unimplemented(f"{min(unknown)} in a service's container")
        kept = {key: container[key] for key in fields & set(container)}
        kept["env"] = [_as_knative_variable(entry) for entry in container.get("env", ())]
        resources = container.get("resources", {})
        kept["resources"] = {"limits": resources.get("limits", {})}
        # "if ResourceRequirements is set, the caller must explicitly set this field to true": v2's cpu_idle
        if "resources" in container and not resources.get("cpuIdle"):
            annotations[_CPU_THROTTLING] = "false"
        if resources.get("startupCpuBoost"):
            annotations[_CPU_BOOST] = "true"
        containers.append(kept)
    spec: Json = {"containers": containers}
    if template.get("serviceAccount"):
        spec["serviceAccountName"] = template["serviceAccount"]
    if template.get("maxInstanceRequestConcurrency"):
        spec["containerConcurrency"] = int(template["maxInstanceRequestConcurrency"])
    if template.get("timeout"):
        spec["timeoutSeconds"] = int(float(template["timeout"].removesuffix("s")))
    meta = {"labels": template.get("labels", {}), "annotations": annotations}
    if template.get("revision"):
        meta["name"] = template["revision"].rpartition("/")[2]
    traffic = [
        {"percent": int(entry.get("percent", 0)), **({"tag": entry["tag"]} if entry.get("tag") else {})}
        | (
            {"revisionName": entry["revision"].rpartition("/")[2]}
            if entry.get("revision")
            else {"latestRevision": True}
        )
        for entry in requested.get("traffic", ())
    ]
    return {
        "template": {"metadata": meta, "spec": spec},
        "traffic": traffic or [{"latestRevision": True, "percent": 100}],
    }


def _metadata(requested: Json) -> Json:
    stage = requested.get("launchStage", "GA")
    annotations = {**requested.get("annotations", {}), **({_LAUNCH_STAGE: stage} if stage != "GA" else {})}
    return {"labels": requested.get("labels", {}), "annotations": annotations}


def _requested(call: Call) -> Json:
    return messages.render(messages.parse(types.Service.pb(), call.json(), "service"))


def _create(call: Call) -> Json:
    place = f"projects/{call.params['project']}/locations/{call.params['location']}"
    _require(call, "run.services.create", place)
    requested = _requested(call)
    body = {"metadata": _metadata(requested), "spec": _specification(requested)}
    service_id = call.query.get("serviceId", "")
    knative.check_name(service_id)
    knative.check(call, body)
    service = knative.add(call, service_id, body)
    return _operation(call, f"{place}/services/{service_id}", service)


def _patch(call: Call) -> Json:
    name = _name(call)
    _require(call, "run.services.update", name)
    requested = _requested(call)
    while True:
        before = knative.existing(call, name)
        try:
            return _operation(call, name, knative.update(call, name, _patched(call, requested, before)), before)
        except ApiError as error:
            # Fields outside the mask came from `before`, and another call has changed the service since.
            if error.status != "ABORTED":
                raise


def _patched(call: Call, requested: Json, before: Json) -> Json:
    """Return the service `before` with the fields of the mask, or all fields, as requested."""
    specification = _specification(requested)
    mask = [field for field in call.query.get("updateMask", "").split(",") if field]
    kept = {
        field: before["spec"][field]
        for field in ("template", "traffic")
        if mask and not any(path.startswith(field) for path in mask)
    }
    meta = _metadata(requested)
    if mask:
        meta = {field: meta[field] for field in meta if field in mask}
    meta["resourceVersion"] = before["metadata"]["resourceVersion"]
    body: Json = {"metadata": meta, "spec": {**specification, **kept}}
    knative.check(call, body)
    return body


def _operation(call: Call, name: str, service: Json, before: Json | None = None) -> Json:
    """Store a new operation on a service and return it as pending. A poll computes its progress.

    Args:
        before: the service before the change, whose conditions hold until those of the new revision are known.
    """
    operation = "/".join((*name.split("/")[:4], "operations", str(uuid.uuid4())))
    with call.world.writing(tick=False) as rows:
        operations.finish(rows, call.world, operation, {"service": name})
    begun = render(name, service)
    begun["terminalCondition"]["state"] = _PENDING
    if before is not None:
        begun["conditions"] = render(name, before)["conditions"]
    if service["metadata"]["generation"] == 1:
        begun = {key: value for key, value in begun.items() if key not in _UNKNOWN_YET}
        begun["terminalCondition"] = {"state": _PENDING}
    return {"name": operation, "metadata": {"@type": _TYPE, **begun}}


def _progress(call: Call, operation: str, name: str) -> Json:
    service = store.find(call.world, name)
    if service is None:
        return {"name": operation, "done": True, "error": {"code": 5, "message": "The service was deleted."}}
    rendered = {"@type": _TYPE, **render(name, service)}
    answer: Json = {"name": operation, "metadata": rendered}
    ready = next(entry for entry in service["status"]["conditions"] if entry["type"] == "Ready")
    if ready["status"] == "True":
        return answer | {"done": True, "response": rendered}
    if ready["status"] == "False":
        return answer | {"done": True, "error": {"code": 9, "message": ready.get("message", "")}}
    return answer


def _get_operation(call: Call) -> Json:
    place = f"projects/{call.params['project']}/locations/{call.params['location']}"
    _require(call, "run.operations.get", place)
    found = operations.get(call.world, f"{place}/operations/{call.params['operation']}")
    service = found.get("response", {}).get("service")
    return _progress(call, found["name"], service) if service else found


METHODS = (
    Method(f"{_ID}.list", "GET", f"{_BASE}/services", _list),
    Method(f"{_ID}.get", "GET", f"{_BASE}/services/{{service}}", _get),
    Method(f"{_ID}.delete", "DELETE", f"{_BASE}/services/{{service}}", _delete),
    Method(f"{_ID}.create", "POST", f"{_BASE}/services", _create),
    Method(f"{_ID}.patch", "PATCH", f"{_BASE}/services/{{service}}", _patch),
    Method("run.projects.locations.operations.get", "GET", f"{_BASE}/operations/{{operation}}", _get_operation),
)
