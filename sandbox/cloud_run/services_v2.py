"""Services v2, as the Python client reads them: the same services, written in Google's own message.

A request is turned into Knative's specification, and its operation is done when the service is ready or has failed.
"""

from __future__ import annotations

import uuid
from typing import Any

from google.cloud.run_v2 import types

from sandbox.api import lists, messages, operations
from sandbox.api.methods import Call, Method
from sandbox.cloud_run import knative, store
from sandbox.errors import not_found, unimplemented
from sandbox.iam import admission

Json = dict[str, Any]
_TYPE = "type.googleapis.com/google.cloud.run.v2.Service"
_BASE = "/v2/projects/{project}/locations/{location}"
_STATES = {"True": "CONDITION_SUCCEEDED", "False": "CONDITION_FAILED", "Unknown": "CONDITION_RECONCILING"}
_ID = "run.projects.locations.services"


def _may(call: Call, permission: str, resource: str) -> None:
    admission.require(call, permission, resource, service="run.googleapis.com")


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


def _asked_variable(entry: Json) -> Json:
    key = entry.get("valueSource", {}).get("secretKeyRef")
    if key is None:
        return entry
    # "projects/P/secrets/S" is refused further on, and the same in both versions.
    reference = {"name": key.get("secret", ""), "key": key.get("version", "latest")}
    return {"name": entry.get("name", ""), "valueFrom": {"secretKeyRef": reference}}


def _template(template: Json) -> Json:
    spec, meta = template["spec"], template.get("metadata", {})
    container = spec["containers"][0]
    answer: Json = {
        "containers": [
            {
                "image": container["image"],
                "env": [_shown_variable(entry) for entry in container.get("env", ())],
                "ports": container.get("ports", []),
                "command": container.get("command", []),
                "args": container.get("args", []),
                **({"startupProbe": container["startupProbe"]} if "startupProbe" in container else {}),
            }
        ],
        "serviceAccount": spec.get("serviceAccountName", ""),
        "revision": meta.get("name", ""),
    }
    return {key: value for key, value in answer.items() if value}


def _traffic(entry: Json, *, resolved: bool) -> Json:
    latest = bool(entry.get("latestRevision"))
    answer = {
        "type": f"TRAFFIC_TARGET_ALLOCATION_TYPE_{'LATEST' if latest else 'REVISION'}",
        "revision": entry.get("revisionName", "") if resolved or not latest else "",
        "percent": int(entry.get("percent", 0)),
        "tag": entry.get("tag", ""),
    }
    return {key: value for key, value in answer.items() if value}


def render(name: str, service: Json) -> Json:
    """Return a service as v2 has it, checked against Google's message."""
    status, meta = service["status"], service["metadata"]
    conditions = [_condition(found) for found in status["conditions"]]
    revisions = f"{name}/revisions/"
    answer: Json = {
        "name": name,
        "uid": meta["uid"],
        "generation": str(meta["generation"]),
        "observedGeneration": str(status.get("observedGeneration", 0)),
        "createTime": meta["creationTimestamp"],
        "creator": meta["annotations"]["serving.knative.dev/creator"],
        "lastModifier": meta["annotations"]["serving.knative.dev/lastModifier"],
        "labels": {key: value for key, value in meta["labels"].items() if not key.startswith("cloud.googleapis.com/")},
        "ingress": "INGRESS_TRAFFIC_ALL",
        "template": _template(service["spec"]["template"]),
        "traffic": [_traffic(entry, resolved=False) for entry in service["spec"].get("traffic", ())],
        "trafficStatuses": [_traffic(entry, resolved=True) for entry in status.get("traffic", ())],
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
    _may(call, "run.services.get", name)
    service = store.find(call.world, name)
    if service is None:
        raise not_found(f"Resource '{call.params['service']}' of kind 'SERVICE' does not exist.")
    return render(name, service)


def _list(call: Call) -> Json:
    project, place = call.params["project"], call.params["location"]
    _may(call, "run.services.list", f"projects/{project}/locations/{place}")
    found = store.of_project(call.world, project, place)
    chosen, token = lists.page(found, call.query, lambda pair: pair[0])
    return lists.answer("services", [render(*pair) for pair in chosen], token)


def _delete(call: Call) -> Json:
    name = _name(call)
    _may(call, "run.services.delete", name)
    service = store.find(call.world, name)
    if service is None:
        raise not_found(f"Resource '{call.params['service']}' of kind 'SERVICE' does not exist.")
    last = render(name, service)
    knative.forget(call, name)
    number = uuid.uuid4()
    operation = f"projects/{call.params['project']}/locations/{call.params['location']}/operations/{number}"
    with call.world.writing() as rows:
        return operations.finish(rows, call.world, operation, {"@type": _TYPE, **last}, {"@type": _TYPE, **last})


def _specification(asked: Json) -> Json:
    """Knative's specification of a v2 service. What it cannot say is refused, not dropped."""
    template = asked.get("template", {})
    known = {"revision", "labels", "annotations", "containers", "serviceAccount", "timeout", "scaling"}
    if unknown := set(template) - known - {"maxInstanceRequestConcurrency"}:
        raise unimplemented(f"{min(unknown)} in a service's template")
    containers = []
    for container in template.get("containers", ()):
        fields = {"name", "image", "env", "ports", "command", "args", "resources", "startupProbe"}
        if unknown := set(container) - fields:
            raise unimplemented(f"{min(unknown)} in a service's container")
        kept = {key: container[key] for key in fields & set(container)}
        kept["env"] = [_asked_variable(entry) for entry in container.get("env", ())]
        kept["resources"] = {"limits": container.get("resources", {}).get("limits", {})}
        containers.append(kept)
    spec: Json = {"containers": containers}
    if template.get("serviceAccount"):
        spec["serviceAccountName"] = template["serviceAccount"]
    if template.get("maxInstanceRequestConcurrency"):
        spec["containerConcurrency"] = int(template["maxInstanceRequestConcurrency"])
    if template.get("timeout"):
        spec["timeoutSeconds"] = int(float(template["timeout"].removesuffix("s")))
    meta = {"labels": template.get("labels", {}), "annotations": template.get("annotations", {})}
    if template.get("revision"):
        meta["name"] = template["revision"].rpartition("/")[2]
    traffic = [
        {"percent": int(entry.get("percent", 0)), **({"tag": entry["tag"]} if entry.get("tag") else {})}
        | (
            {"revisionName": entry["revision"].rpartition("/")[2]}
            if entry.get("revision")
            else {"latestRevision": True}
        )
        for entry in asked.get("traffic", ())
    ]
    return {
        "template": {"metadata": meta, "spec": spec},
        "traffic": traffic or [{"latestRevision": True, "percent": 100}],
    }


def _asked(call: Call) -> Json:
    return messages.render(messages.parse(types.Service.pb(), call.json(), "service"))


def _create(call: Call) -> Json:
    place = f"projects/{call.params['project']}/locations/{call.params['location']}"
    _may(call, "run.services.create", place)
    asked = _asked(call)
    body = {"metadata": {"labels": asked.get("labels", {})}, "spec": _specification(asked)}
    service_id = call.query.get("serviceId", "")
    knative.check_name(service_id)
    knative.check(call, body)
    knative.begin(call, service_id, body)
    return _operation(call, f"{place}/services/{service_id}")


def _patch(call: Call) -> Json:
    name = _name(call)
    _may(call, "run.services.update", name)
    asked = _asked(call)
    before = store.find(call.world, name)
    if before is None:
        raise not_found(f"Resource '{call.params['service']}' of kind 'SERVICE' does not exist.")
    specification = _specification(asked)
    mask = [field for field in call.query.get("updateMask", "").split(",") if field]
    kept = {
        field: before["spec"][field]
        for field in ("template", "traffic")
        if mask and not any(path.startswith(field) for path in mask)
    }
    body: Json = {"metadata": {}, "spec": {**specification, **kept}}
    knative.check(call, body)
    knative.update(call, name, body)
    return _operation(call, name)


def _operation(call: Call, name: str) -> Json:
    """Return a new operation on a service; how far it is, is asked of the service."""
    operation = "/".join((*name.split("/")[:4], "operations", str(uuid.uuid4())))
    with call.world.writing(tick=False) as rows:
        operations.finish(rows, call.world, operation, {"service": name})
    return _progress(call, operation, name)


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
    _may(call, "run.operations.get", place)
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
