"""A docker that tells the status of a refusal and keeps the registry's sentence to itself."""

from __future__ import annotations

import pytest

from helpers.cell import refusals

URL = "http://localhost:5001/v2/us-central1-docker.pkg.dev/p/r/probe"
# As docker 26.1 writes with the containerd store.
TOKEN = f"failed to authorize: failed to fetch anonymous token: unexpected status from GET request to {URL}/token: "
MANIFEST = f'failed commit on ref "manifest-sha256:00": unexpected status from PUT request to {URL}/manifests/1.0.0: '
# As podman 5.4 writes.
PODMAN = "Error: trying to reuse blob: Requesting bearer token: invalid status code from registry "


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        (f"{TOKEN}403 Forbidden", "Unauthenticated request"),
        (f"{TOKEN}403 Forbidden", "artifactregistry.repositories.uploadArtifacts"),
        (f"{TOKEN}401 Unauthorized", "unauthorized"),
        (f"unexpected status from POST request to {URL}/blobs/uploads/: 404 Not Found", "not found"),
        (f"{MANIFEST}400 Bad Request", "cannot update tag 1.0.0. The repository has enabled tag immutability"),
        (f"{PODMAN}403 (Forbidden)", "denied"),
    ],
)
def test_the_status_stands_for_the_sentence(output: str, wanted: str) -> None:
    assert refusals.keeps_sentence(f"Pushing\n{output}\n", wanted)


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        (f"{TOKEN}401 Unauthorized", "Unauthenticated request"),
        (f"{TOKEN}403 Forbidden", "not found"),
        (f"{MANIFEST}404 Not Found", "The repository has enabled tag immutability"),
        (f"unexpected status from PUT request to {URL}: 500 Internal Server Error", "denied"),
        ("denied: Permission was refused", "Unauthenticated request"),
        ("connection refused", "denied"),
        ("ERROR: (gcloud) HTTP status 403", "artifactregistry.repositories.get"),
    ],
)
def test_another_status_or_another_program_does_not(output: str, wanted: str) -> None:
    assert not refusals.keeps_sentence(output, wanted)
