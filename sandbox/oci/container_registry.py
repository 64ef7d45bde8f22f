"""gcr.io, which the sandbox does not have: refuse every request with a message that clients show.

gcloud's `container images` requests `GET /v2/` first, crashes on anything but a 200 or a challenge, and prints the
token endpoint's message (containerregistry/client/v2_2/docker_http_.py); docker does the same.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from sandbox.errors import RegistryError


def serves(host: str) -> bool:
    """Return whether a host is one of Container Registry's: `gcr.io`, `eu.gcr.io`."""
    return host == "gcr.io" or host.endswith(".gcr.io")


def answer(host: str, path: str, base: str) -> Response:
    """Return a challenge that sends the client to the token endpoint, where it gets the refusal.

    Args:
        base: the URL of this host as the client sees it.

    Raises:
        RegistryError: DENIED, at every path but `/v2/`.
    """
    refusal = RegistryError(
        "DENIED",
        f"The workbook's sandbox does not do this: images of {host}. Name them by Artifact Registry's own host, "
        "LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE, and list them with gcloud artifacts docker images list.",
    )
    if path.rstrip("/") != "/v2":
        raise refusal
    challenge = {"WWW-Authenticate": f'Bearer realm="{base}/v2/token",service="{host}"'}
    return JSONResponse(refusal.body(), 401, challenge)
