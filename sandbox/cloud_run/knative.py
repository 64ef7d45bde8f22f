"""Cloud Run's Knative API of services. Changes return immediately and report progress in `status.conditions`.

Source: https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services and facts/gcloud-requests.md 7a to 7o.
"""

from __future__ import annotations

import copy
import re
import sqlite3
import uuid
from typing import Any

from sandbox.api import lists, shapes
from sandbox.api.methods import Call
from sandbox.artifact_registry import image_names
from sandbox.cloud_run import defaults, deployment, instances, probes, secret_env, shape, store
from sandbox.errors import ApiError, caller_denied, invalid, not_found, unimplemented
from sandbox.iam import acting, admission, policies
from sandbox.state.clock import timestamp

Json = dict[str, Any]
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?")
_HOST = re.compile(r"([a-z]+\.)?gcr\.io|([a-z0-9-]+-)?docker\.pkg\.dev|docker\.[a-z0-9-]+\.rep\.pkg\.dev|docker\.io")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# https://cloud.google.com/run/docs/configuring/services/environment-variables#reserved
_RESERVED = ("PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION")


def region(call: Call) -> str:
    """Return the location from the path, or else from the host's name."""
    if "location" in call.params:
        return call.params["location"]
    match = re.fullmatch(r"([a-z]+-[a-z]+\d+)-run\.googleapis\.com", call.host)
    match = match or re.fullmatch(r"run\.([a-z]+-[a-z]+\d+)\.rep\.googleapis\.com", call.host)
    if match is None:
        raise invalid("Services are asked for at the host of their region, for example us-central1-run.googleapis.com.")
    return match[1]


def require(call: Call, permission: str, resource: str, shown: str) -> None:
    """Raise PERMISSION_DENIED with the message of Cloud Run's Knative API, unless the caller has a permission."""
    if not admission.is_allowed(call, permission, resource):
        raise ApiError(
            "PERMISSION_DENIED", f"Permission '{permission}' denied on resource '{shown}' (or resource may not exist)."
        )


def _named(call: Call, permission: str) -> str:
    """Return the resource name of the service in the path, after checking the permission."""
    service = call.params["service"]
    name = store.resource(call.params["project"], region(call), service)
    require(call, permission, name, f"namespaces/{call.params['project']}/services/{service}")
    return name


def existing(call: Call, name: str) -> Json:
    """Return the service of that resource name, or raise NOT_FOUND."""
    service = store.find(call.world, name)
    if service is None:
        raise missing(call, name.rpartition("/")[2])
    return service


def exists(call: Call) -> None:
    """Raise NOT_FOUND unless the service in the path exists."""
    existing(call, store.resource(call.params["project"], region(call), call.params["service"]))


# Google's annotations that have an effect here, are returned, or identify the client.
_ANNOTATIONS = frozenset(
    (
        *(f"run.googleapis.com/{name}" for name in ("client-name", "client-version", "operation-id", "urls")),
        *(f"run.googleapis.com/{name}" for name in ("ingress", "ingress-status", "launch-stage", "cpu-throttling")),
        *(f"run.googleapis.com/{name}" for name in ("startup-cpu-boost", "minScale", "maxScale", "scalingMode")),
        "autoscaling.knative.dev/minScale",
        "autoscaling.knative.dev/maxScale",
    )
)


def missing(call: Call, name: str, kind: str = "SERVICE") -> ApiError:
    """Return a NOT_FOUND error, worded as in three public reports (2023 to 2026)."""
    where = f"in region '{region(call)}' in project '{call.params['project']}'"
    return not_found(f"Resource '{name}' of kind '{kind}' {where} does not exist.")


def _container(template: Json) -> Json:
    found = template.get("spec", {}).get("containers") or []
    if len(found) != 1:
        if found:
            raise unimplemented("several containers in one revision")
        raise invalid("spec.template.spec.containers: Revision template must contain at least one container.")
    container: Json = found[0]
    return container


def check_name(service_id: Any) -> None:
    """Raise INVALID_ARGUMENT for an invalid name of a new service."""
    if not isinstance(service_id, str) or not _NAME.fullmatch(service_id):
        raise invalid(
            "metadata.name: Service name must use only lowercase alphanumeric characters and dashes, cannot begin or "
            "end with a dash, and cannot be longer than 49 characters."  # unverified: the sentence
        )


def _refuse_unread(service: Json, container: Json) -> None:
    """Refuse settings that would have no effect here."""
    template = service["spec"]["template"]
    for meta in (service.get("metadata", {}), template.get("metadata", {})):
        for key in meta.get("annotations") or {}:
            if key.startswith(("run.googleapis.com/", "autoscaling.knative.dev/")) and key not in _ANNOTATIONS:
                raise unimplemented(f"the annotation {key} of a service")
    if container.get("resources", {}).get("requests"):
        raise unimplemented("the requests of a container's resources")
    limits = container.get("resources", {}).get("limits") or {}
    for name in limits:
        if name not in ("cpu", "memory"):
            raise unimplemented(f"the limit {name} of a container")
    if template["spec"].get("nodeSelector"):
        raise unimplemented("a nodeSelector, which asks for GPUs")


def check(call: Call, service: Json) -> None:
    """Check a specification, and replace the service account in it by its e-mail address.

    Raises:
        ApiError: INVALID_ARGUMENT, UNIMPLEMENTED, or PERMISSION_DENIED for an account that the caller may not act as.
    """
    template = service.get("spec", {}).get("template", {})
    container = _container(template)
    if not container.get("image"):
        raise invalid("spec.template.spec.containers[0].image: should not be empty")
    _check_host(container["image"])
    _refuse_unread(service, container)
    for port in container.get("ports", ()):
        if not 1 <= int(port.get("containerPort", 0)) <= 65535:
            raise invalid("spec.template.spec.containers[0].ports[0].container_port: must be between 1 and 65535.")
    seen = set()
    for place, entry in enumerate(container.get("env", ())):
        name = entry.get("name", "")
        if name in _RESERVED:
            raise invalid(
                "spec.template.spec.containers[0].env: The following reserved env names were provided: "
                f"{name}. These values are automatically set by the system."
            )
        if not _ENV.fullmatch(name) or name in seen:
            raise invalid(f"spec.template.spec.containers[0].env: invalid or duplicate name {name!r}")
        if "valueFrom" in entry:
            secret_env.check(entry, place)
        seen.add(name)
    if template["spec"].get("volumes") or container.get("volumeMounts"):
        raise unimplemented("volumes in a revision")
    probes.check(container)
    _check_traffic(service)
    named = template["spec"].get("serviceAccountName")
    email = _account(call, named or acting.default_account(call.project))
    if named:
        template["spec"]["serviceAccountName"] = email
    image = image_names.parse(container["image"])
    if image is not None and not admission.is_allowed(call, deployment.PULL, image.repository):
        # Since 15 January 2025 the caller must be able to read the image. The message is from a public report.
        raise caller_denied(deployment.PULL, image.repository)


def _check_host(image: str) -> None:
    """Refuse an image of a registry that Cloud Run does not accept.

    Source: two public reports have the message, except for the address at its end.
    """
    host, sign, _ = image.partition("/")
    if not sign or not re.search(r"[.:]|^localhost$", host) or _HOST.fullmatch(host):
        return
    raise invalid(
        "spec.template.spec.containers[0].image: Expected an image path like [host/]repo-path[:tag and/or @digest], "
        f"where host is one of [region.]gcr.io, [region-]docker.pkg.dev or docker.io but obtained {image[:300]}. To "
        "deploy container images from other public or private registries, set up an Artifact Registry remote "
        "repository. See https://cloud.google.com/artifact-registry/docs/repositories/remote-overview."
    )


def _check_traffic(service: Json) -> None:
    traffic = service.get("spec", {}).get("traffic") or []
    if traffic and sum(int(entry.get("percent", 0)) for entry in traffic) != 100:
        raise invalid("spec.traffic: Traffic percentages must add up to 100.")


def _account(call: Call, named: str) -> str:
    email = acting.check(call.world, call.principal.member, named)
    if email is None:
        raise ApiError(
            "PERMISSION_DENIED",
            f"Permission 'iam.serviceaccounts.actAs' denied on service account {named} (or it may not exist).",
        )
    return email


def create(call: Call) -> Json:
    """Create a service."""
    body = shapes.check(shape.Service, call.json(), strict=True)
    meta = body.get("metadata", {})
    service_id = meta.get("name", "")
    project, place = call.params["project"], region(call)
    require(call, "run.services.create", f"projects/{project}/locations/{place}", f"namespaces/{project}/services")
    check_name(service_id)
    check(call, body)
    return _without_v2_fields(add(call, service_id, body))


def add(call: Call, service_id: str, body: Json) -> Json:
    """Store a checked new service and start to deploy it."""
    project, place = call.project, region(call)
    name = store.resource(project.id, place, service_id)
    meta = body.get("metadata", {})
    url = store.url(call.world, service_id, project.number, place)
    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": service_id,
            "namespace": project.number,
            "selfLink": f"/apis/serving.knative.dev/v1/namespaces/{project.number}/services/{service_id}",
            "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{timestamp(call.world.now())}")),
            "resourceVersion": "AAX1",
            "generation": 1,
            "creationTimestamp": timestamp(call.world.now()),
            "labels": {**meta.get("labels", {}), "cloud.googleapis.com/location": place},
            "annotations": {
                **meta.get("annotations", {}),
                "serving.knative.dev/creator": call.principal.email,
                "serving.knative.dev/lastModifier": call.principal.email,
                "run.googleapis.com/ingress": meta.get("annotations", {}).get("run.googleapis.com/ingress", "all"),
                "run.googleapis.com/urls": f'["{url}"]',
            },
        },
        "spec": copy.deepcopy(body["spec"]),
        "status": {"url": url, "address": {"url": url}, "conditions": deployment.conditions(call.world, "Unknown")},
    }
    service["spec"].setdefault("traffic", [{"latestRevision": True, "percent": 100}])
    defaults.fill(service["spec"]["template"], acting.default_account(project))
    service["updateTime"] = timestamp(call.world.now())
    try:
        with call.world.writing() as rows:
            store.add(rows, name, service)
            policies.forget(rows, name)
    except sqlite3.IntegrityError:
        raise ApiError("ALREADY_EXISTS", f"Resource '{service_id}' already exists.") from None
    deployment.begin(call.world, name)
    return service


def replace(call: Call) -> Json:
    """Replace a service, which creates a new generation of it."""
    name = _named(call, "run.services.update")
    body = shapes.check(shape.Service, call.json(), strict=True)
    existing(call, name)
    check(call, body)
    return _without_v2_fields(update(call, name, body))


def update(call: Call, name: str, body: Json) -> Json:
    """Store a checked change of a service and start to deploy it."""
    given = body.get("metadata", {}).get("resourceVersion")
    # Traffic may name the revision that this change creates: `gcloud run deploy --no-traffic --tag=…`.
    new = body["spec"].get("template", {}).get("metadata", {}).get("name")
    for revision in (entry.get("revisionName") for entry in body["spec"].get("traffic") or ()):
        if revision in (None, "", new):
            continue
        if store.find_revision(call.world, store.revision_name(name, revision)) is None:
            raise invalid(f"spec.traffic: Revision '{revision}' not found.")  # unverified: the sentence

    def change(now: Json) -> None:
        meta = now["metadata"]
        if given and given != meta["resourceVersion"]:
            raise ApiError(
                "ABORTED",
                f"Conflict for resource '{meta['name']}': version '{given}' was specified but current version is "
                f"'{meta['resourceVersion']}'.",
            )
        meta["generation"] += 1
        meta["resourceVersion"] = f"AAX{meta['generation']}"
        requested = body.get("metadata", {})
        kept = {
            key: value for key, value in meta["annotations"].items() if key.startswith("serving.knative.dev/creator")
        }
        kept["run.googleapis.com/urls"] = meta["annotations"]["run.googleapis.com/urls"]
        kept["run.googleapis.com/ingress"] = "all"
        meta["annotations"] = {
            **requested.get("annotations", meta["annotations"]),
            **kept,
            "serving.knative.dev/lastModifier": call.principal.email,
        }
        if "labels" in requested:
            meta["labels"] = {**requested["labels"], "cloud.googleapis.com/location": name.split("/")[3]}
        now["spec"] = copy.deepcopy(body["spec"])
        now["spec"].setdefault("traffic", [{"latestRevision": True, "percent": 100}])
        defaults.fill(now["spec"]["template"], acting.default_account(call.project))
        now["updateTime"] = timestamp(call.world.now())
        now["status"]["conditions"] = deployment.conditions(call.world, "Unknown")

    changed = store.change(call.world, name, change, tick=True)
    if changed is None:
        raise missing(call, name.rpartition("/")[2])
    deployment.begin(call.world, name)
    return changed


def get(call: Call) -> Json:
    """Return one service."""
    return _without_v2_fields(existing(call, _named(call, "run.services.get")))


def _without_v2_fields(service: Json) -> Json:
    return {key: value for key, value in service.items() if key != "updateTime"}


def delete(call: Call) -> Json:
    """Delete a service with its revisions, its policy and its containers."""
    name = _named(call, "run.services.delete")
    existing(call, name)
    remove(call, name)
    return {"apiVersion": "serving.knative.dev/v1", "kind": "Status", "status": "Success"}


def remove(call: Call, name: str) -> None:
    """Delete a service's rows and then its containers."""
    running = call.world.part(instances.Instances)
    names = [store.revision_name(name, one["metadata"]["name"]) for one in store.revisions(call.world, name)]
    with call.world.writing() as rows:
        store.remove(rows, name)
        policies.forget(rows, name)
    # After the rows: an instance that is still starting checks its row before it is added to the running ones.
    for revision in names:
        running.forget(revision)


def list_services(call: Call) -> Json:
    """Return the services of a region, or of all regions for `-`."""
    project = call.params["project"]
    require(call, "run.services.list", f"projects/{project}", f"namespaces/{project}/services")
    found = store.of_project(call.world, project, region(call))
    return page(call, "ServiceList", [_without_v2_fields(service) for _, service in found])


def page(call: Call, kind: str, found: list[Json]) -> Json:
    """Return a page as a Kubernetes list, with `labelSelector`, `continue` and `limit` applied.

    gcloud needs `metadata`.
    """
    chosen = [one for one in found if _selected(one["metadata"].get("labels", {}), call)]
    query = {"pageSize": call.query.get("limit", ""), "pageToken": call.query.get("continue", "")}
    items, token = lists.page(chosen, query, lambda one: str(one["metadata"]["uid"]))
    meta = {"continue": token} if token else {}
    return {"apiVersion": "serving.knative.dev/v1", "kind": kind, "metadata": meta, "items": items}


def _selected(labels: dict[str, str], call: Call) -> bool:
    for term in filter(None, call.query.get("labelSelector", "").split(",")):
        key, _, value = (part.strip() for part in term.partition("="))
        if labels.get(key) != value.lstrip("=").strip():
            return False
    return True
