"""Media types, requests and responses for tests of the registry's API."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any

import pytest

from tests.sandbox.oci.conftest import Registry, digest_of

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCTETS = {"Content-Type": "application/octet-stream"}
UPLOAD = "artifactregistry.repositories.uploadArtifacts"
DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"

algorithms = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])


def other(algorithm: str = "sha256") -> str:
    return digest_of(secrets.token_bytes(16), algorithm)


def code(answer: Any) -> str:
    """Return the code of the first error, which must have a message."""
    error = answer.json()["errors"][0]
    assert error["message"]
    return str(error["code"])


def refusal(answer: Any) -> tuple[int, str, str]:
    """Return status, code and message of a refusal, after checking its form."""
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    (error,) = answer.json()["errors"]
    return answer.status_code, error["code"], error["message"]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def get_token(registry: Registry, *scopes: str, headers: dict[str, str] | None = None, who: str = "") -> Any:
    return registry.call(
        "GET", "token", who=who, params={"scope": list(scopes), "service": "any"}, headers=headers or {}
    )


def resource(registry: Registry, repository: str = "ml-images") -> str:
    return f"projects/{registry.project}/locations/us-central1/repositories/{repository}"


def check_stored(registry: Registry, answer: Any, digest: str, content: bytes) -> None:
    """Check that the Location of a 201 has the same content."""
    assert answer.status_code == 201, answer.text
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["Location"].startswith(f"{registry.base}/v2/{registry.prefix}")
    found = registry.call("GET", answer.headers["Location"])
    assert (found.status_code, found.content) == (200, content)
    assert found.headers["Docker-Content-Digest"] == digest


def joined(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def open_upload(registry: Registry, name: str) -> str:
    answer = registry.call("POST", f"{name}/blobs/uploads/")
    assert answer.status_code == 202
    return str(answer.headers["Location"])


def tag_many(registry: Registry, name: str, tags: list[str]) -> str:
    body = json.dumps(registry.image(name, b"layer")).encode()
    query = "&".join(f"tag={tag}" for tag in tags)
    return registry.push_manifest(name, f"{digest_of(body)}?{query}", body)
