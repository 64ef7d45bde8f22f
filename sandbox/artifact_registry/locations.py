"""The locations of repositories. Source: facts/artifact-registry.md 7, gcloud's list of November 2026."""

from __future__ import annotations

from typing import Any

from sandbox.api import lists
from sandbox.api.methods import Call, Method
from sandbox.errors import ApiError

MULTI_REGIONS = ("asia", "europe", "us")
_REGIONS = """
africa-south1 asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 asia-south2
asia-southeast1 asia-southeast2 australia-southeast1 australia-southeast2 europe-central2 europe-north1 europe-north2
europe-southwest1 europe-west1 europe-west10 europe-west12 europe-west2 europe-west3 europe-west4 europe-west6
europe-west8 europe-west9 me-central1 me-central2 me-west1 northamerica-northeast1 northamerica-northeast2
northamerica-south1 southamerica-east1 southamerica-west1 us-central1 us-central2 us-east1 us-east4 us-east5 us-east7
us-south1 us-west1 us-west2 us-west3 us-west4 us-west8
"""
LOCATIONS = tuple(sorted((*MULTI_REGIONS, *_REGIONS.split())))


def check(location: str) -> None:
    """Raise PERMISSION_DENIED for an unknown location, as other Google APIs do. # unverified."""
    if location not in LOCATIONS:
        raise ApiError("PERMISSION_DENIED", f"Permission denied on 'locations/{location}' (or it may not exist).")


def _render(project: str, location: str) -> dict[str, Any]:
    return {"name": f"projects/{project}/locations/{location}", "locationId": location}


def _list(call: Call) -> dict[str, Any]:
    chosen, token = lists.page(LOCATIONS, {"pageSize": "1000", **call.query}, lambda location: location)
    return lists.answer("locations", [_render(call.params["project"], location) for location in chosen], token)


def _get(call: Call) -> dict[str, Any]:
    check(call.params["location"])
    return _render(call.params["project"], call.params["location"])


METHODS = tuple(
    method
    for version in ("v1", "v1beta2")  # gcloud lists locations through v1beta2
    for method in (
        Method(
            "artifactregistry.projects.locations.list",
            "GET",
            f"/{version}/projects/{{project}}/locations",
            _list,
            ("artifactregistry.locations.list",),
        ),
        Method(
            "artifactregistry.projects.locations.get",
            "GET",
            f"/{version}/projects/{{project}}/locations/{{location}}",
            _get,
            ("artifactregistry.locations.get",),
        ),
    )
)
