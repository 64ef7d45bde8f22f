"""run.googleapis.com: Knative's serving/v1, which gcloud uses, and services v2, which the Python client uses.

Source: facts/gcloud.md "run" and facts/artifact-registry.md 5b.
"""

from __future__ import annotations

from sandbox.api.methods import Api, Method, ordered
from sandbox.cloud_run import knative, revisions, services_v2
from sandbox.iam.policy_methods import policy_methods

_K = "/apis/serving.knative.dev/v1/namespaces/{project}"
_LOCATION = "projects/{project}/locations/{location}"
_RESOURCE = f"{_LOCATION}/services/{{service}}"
_ID = "run.namespaces"
_ID2 = "run.projects.locations.services"


def _policies(version: str) -> list[Method]:
    return policy_methods(
        _ID2, f"/{version}/{_RESOURCE}", _RESOURCE, "run.services", exists=knative.exists, get_verbs=("GET",)
    )


API = Api(
    "run.googleapis.com",
    "Cloud Run Admin API",
    ordered(
        (
            Method(f"{_ID}.services.create", "POST", f"{_K}/services", knative.create),
            Method(f"{_ID}.services.list", "GET", f"{_K}/services", knative.list_services),
            Method(f"{_ID}.services.get", "GET", f"{_K}/services/{{service}}", knative.get),
            Method(f"{_ID}.services.replaceService", "PUT", f"{_K}/services/{{service}}", knative.replace),
            Method(f"{_ID}.services.delete", "DELETE", f"{_K}/services/{{service}}", knative.delete),
            Method(f"{_ID}.revisions.list", "GET", f"{_K}/revisions", revisions.list_revisions),
            Method(f"{_ID}.revisions.get", "GET", f"{_K}/revisions/{{revision}}", revisions.get_revision),
            Method(f"{_ID}.revisions.delete", "DELETE", f"{_K}/revisions/{{revision}}", revisions.delete_revision),
            Method(f"{_ID2}.list", "GET", f"/v1/{_LOCATION}/services", knative.list_services),
            *_policies("v1"),
            *_policies("v2"),
            *services_v2.METHODS,
        )
    ),
    regional=True,
)
