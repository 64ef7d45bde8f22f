"""Deploy a service: create a revision from its specification, start its container, and update traffic and conditions.

Source: Knative's serving/v1 and facts/artifact-registry.md 5b. The messages of failures are Cloud Run's, as public
issues quote them.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import threading
import uuid
from typing import Any

from sandbox.artifact_registry import catalog, image_names
from sandbox.cloud_run import defaults, instances, store
from sandbox.cloud_run.instances import NotStarted
from sandbox.cloud_run.secret_env import SecretRefused
from sandbox.containers import EngineFailed
from sandbox.iam import acting, policies
from sandbox.iam.members import RUN_AGENT
from sandbox.state import projects
from sandbox.state.clock import timestamp
from sandbox.state.world import World

Json = dict[str, Any]
PULL = "artifactregistry.repositories.downloadArtifacts"
log = logging.getLogger("sandbox")


class ImageRefused(Exception):
    """An image that cannot be deployed. The message is Cloud Run's, `reason` the condition's."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def resolve_image(world: World, image: str, number: str, project_id: str) -> str:
    """Return the image with the digest that its tag has now.

    Raises:
        ImageRefused: if the image is not in the sandbox's registry, or the service agent may not pull it.
    """
    named = image_names.parse(image)
    if named is None:
        raise ImageRefused(f"Image '{image}' not found.", "ContainerMissing")
    agent = RUN_AGENT.format(number=number)
    if not policies.decide(world, f"serviceAccount:{agent}", PULL, named.repository).allowed:
        other = (
            f" Note that the image is from project [{named.project}], which is not the same as this project "
            f"[{project_id}]. Permission must be granted to the Google Cloud Run Service Agent from this project."
            if named.project != project_id
            else ""
        )
        raise ImageRefused(
            f"Google Cloud Run Service Agent {agent} must have permission to read the image, {image}. Ensure that the "
            "provided container image URL is correct and that the above account has permission to access the image. If "
            "you just enabled the Cloud Run API, the permissions might take a few minutes to propagate." + other,
            "ContainerPermissionDenied",
        )
    with world.reading() as rows:
        digest = named.digest or catalog.find_tag(rows, named.repository, named.package, named.tag or "latest")
        known = digest and catalog.find_version(rows, named.repository, named.package, digest)
    if not known:
        raise ImageRefused(f"Image '{image}' not found.", "ContainerMissing")
    return f"{named.key}@{digest}"


def condition(world: World, kind: str, status: str, message: str = "", reason: str = "") -> Json:
    """Return a condition of a Knative object."""
    answer = {
        "type": kind,
        "status": status,
        "lastTransitionTime": timestamp(world.now()),
        "message": message,
        "reason": reason,
    }
    return {key: value for key, value in answer.items() if value}


def conditions(world: World, status: str) -> list[Json]:
    """Return the conditions of a service, all with one status."""
    return [condition(world, kind, status) for kind in ("Ready", "ConfigurationsReady", "RoutesReady")]


def begin(world: World, name: str) -> None:
    """Start to deploy a service's newest generation in the background."""
    threading.Thread(target=_reconcile, args=(world, name), daemon=True, name="deployment").start()


def recover(world: World) -> None:
    """Resume the deployments that a stop or a crash interrupted."""
    for name in store.unfinished(world):
        log.info("resuming the deployment of %s", name)
        begin(world, name)


def _locks(_world: World) -> dict[str, threading.Lock]:
    """Return the locks by service, which make a service's generations deploy one after the other."""
    return {}


def _reconcile(world: World, name: str) -> None:
    with world.part(_locks).setdefault(name, threading.Lock()):
        service = store.find(world, name)
        if service is None:
            return
        try:
            _deploy(world, name, service)
        except Exception:
            log.exception("the deployment of %s failed", name)
            store.change(
                world,
                name,
                lambda now: _update_status(world, now, "Internal error. The sandbox's log has the reason.", "Internal"),
            )


def _deploy(world: World, name: str, service: Json) -> None:
    newest = next(iter(store.revisions(world, name)), None)
    template = service["spec"]["template"]
    same = newest is not None and newest["metadata"]["annotations"].get("workbook/template") == _fingerprint(template)
    if newest is not None and same and _failure(newest) is None:
        store.change(world, name, lambda now: _update_status(world, now))
        return
    if newest is not None and same:
        # Its deployment was interrupted, or failed and is requested again. Deploy the same revision.
        revision = newest
        full = store.revision_name(name, revision["metadata"]["name"])
    else:
        revision, number = _revision(world, name, service)
        full = store.revision_name(name, revision["metadata"]["name"])
        store.add_revision(world, name, number, revision)
    created = revision["metadata"]["name"]
    store.change(world, name, lambda now: now["status"].update(latestCreatedRevisionName=created))
    problem, reason = "", ""
    try:
        project = projects.find(world, name.split("/")[1])
        assert project is not None  # noqa: S101 - the dispatch table found it
        image = revision["spec"]["containers"][0]["image"]
        revision["status"]["imageDigest"] = resolve_image(world, image, project.number, project.id)
        world.part(instances.Instances).ensure(full, revision)
    except ImageRefused as refused:
        problem, reason = str(refused), refused.reason
    except NotStarted as stopped:
        problem, reason = str(stopped), "HealthCheckContainerError"
    except SecretRefused as refused:
        problem, reason = str(refused), "SecretsAccessCheckFailed"
    except EngineFailed as error:
        problem, reason = f"The sandbox's engine could not run it: {error}", "Internal"
    _conclude(world, revision, problem, reason)
    store.save_revision(world, full, revision)

    def after(now: Json) -> None:
        if not problem:
            now["status"]["latestReadyRevisionName"] = created
        _update_status(world, now, *(_failure(revision) or ()))

    store.change(world, name, after)


def _failure(revision: Json) -> tuple[str, str] | None:
    """Return the service's message and reason for a revision that is not ready, or None if it is ready."""
    [ready] = [entry for entry in revision["status"]["conditions"] if entry["type"] == "Ready"]
    problem, reason = ready.get("message", ""), ready.get("reason", "")
    if ready["status"] == "True":
        return None
    if reason in ("HealthCheckContainerError", "SecretsAccessCheckFailed"):
        name = revision["metadata"]["name"]
        problem = f"Revision '{name}' is not ready and cannot serve traffic. {problem}"
    return problem, reason


def _fingerprint(template: Json) -> str:
    return hashlib.sha256(repr(_sorted(template)).encode()).hexdigest()[:16]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        # Ignore empty fields, which clients leave out when they send back a service.
        return sorted((key, _sorted(entry)) for key, entry in value.items() if entry not in (None, "", [], {}))
    return [_sorted(entry) for entry in value] if isinstance(value, list) else value


def _revision(world: World, name: str, service: Json) -> tuple[Json, int]:
    template = service["spec"]["template"]
    number, generated = store.next_name(world, name)
    meta = template.get("metadata", {})
    project = projects.find(world, name.split("/")[1])
    assert project is not None  # noqa: S101 - the dispatch table found it
    spec = copy.deepcopy(template["spec"])
    # Services from an older sandbox were stored without the defaults.
    defaults.fill({"spec": spec}, acting.default_account(project))
    container = spec["containers"][0]
    if not container.get("name"):
        container["name"] = f"{service['metadata']['name']}-1"
    created = meta.get("name") or generated
    place = name.split("/")[3]
    namespace = service["metadata"]["namespace"]
    revision = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Revision",
        "metadata": {
            "name": created,
            "namespace": namespace,
            "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{created}")),
            "generation": 1,
            "selfLink": f"/apis/serving.knative.dev/v1/namespaces/{namespace}/revisions/{created}",
            "resourceVersion": f"AAX{number}",
            "creationTimestamp": timestamp(world.now()),
            "labels": {
                **meta.get("labels", {}),
                "serving.knative.dev/configuration": service["metadata"]["name"],
                "serving.knative.dev/configurationGeneration": str(service["metadata"]["generation"]),
                "serving.knative.dev/service": service["metadata"]["name"],
                "serving.knative.dev/serviceUid": service["metadata"]["uid"],
                "cloud.googleapis.com/location": place,
            },
            "annotations": {
                **meta.get("annotations", {}),
                "serving.knative.dev/creator": service["metadata"]["annotations"]["serving.knative.dev/lastModifier"],
                "workbook/template": _fingerprint(template),
            },
        },
        "spec": spec,
        "status": {"observedGeneration": 1, "conditions": [condition(world, "Ready", "Unknown", "Deploying.")]},
    }
    return revision, number


def _conclude(world: World, revision: Json, problem: str, reason: str) -> None:
    good = "False" if problem else "True"
    kinds = ("Ready", "ContainerHealthy", "ResourcesAvailable")
    first = [
        condition(world, kind, good, problem, reason) for kind in kinds[: 1 if reason.startswith("Container") else 2]
    ]
    rest = [condition(world, kind, "True") for kind in kinds[2:]] if not problem else []
    active = condition(world, "Active", "True") if not problem else condition(world, "Active", "False", problem, reason)
    revision["status"]["conditions"] = [*first, *rest, active]


def _update_status(world: World, service: Json, problem: str = "", reason: str = "") -> None:
    """Resolve the traffic and set the conditions."""
    status = service["status"]
    ready = status.get("latestReadyRevisionName", "")
    wanted = service["spec"].get("traffic") or [{"latestRevision": True, "percent": 100}]
    traffic: list[Json] = []
    for entry in wanted:
        target = ready if entry.get("latestRevision") else entry.get("revisionName", "")
        if not target:
            continue
        resolved = {**entry, "revisionName": target}
        if entry.get("tag"):
            name = service["metadata"]["name"]
            resolved["url"] = status["url"].replace(f"/{name}-", f"/{entry['tag']}---{name}-")
        traffic.append(resolved)
    status["traffic"] = traffic
    status["observedGeneration"] = service["metadata"]["generation"]
    if problem:
        status["conditions"] = [
            condition(world, "Ready", "False", problem, reason),
            condition(world, "ConfigurationsReady", "False", problem, reason),
            condition(world, "RoutesReady", "False" if not ready else "True"),
        ]
    else:
        status["conditions"] = conditions(world, "True")
