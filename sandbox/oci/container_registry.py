"""gcr.io, which is not here: every client that asks for it is told so in a sentence, at once.

gcloud's `container images` asks `GET /v2/` first, crashes on all but a 200 or a challenge, and prints what the token
endpoint answers (containerregistry/client/v2_2/docker_http_.py); docker does the same.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from sandbox.errors import RegistryError


def serves(host: str) -> bool:
    """Whether a host is one of Container Registry's: `gcr.io`, `eu.gcr.io`."""
    return host == "gcr.io" or host.endswith(".gcr.io")


def answer(host: str, path: str, base: str) -> Response:
    """Return the challenge that leads a client to the refusal.

    Args:
        base: what stands in front of a path on this host, for the client that asks.

    Raises:
        RegistryError: DENIED, for everything else.
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
