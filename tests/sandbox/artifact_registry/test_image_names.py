"""Parse the names of images and their hosts."""

from __future__ import annotations

import pytest

from sandbox.artifact_registry import image_names

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize("host", ["us-central1-docker.pkg.dev", "docker.us-central1.rep.pkg.dev"])
@pytest.mark.parametrize("rest", ["app", "team/app:v1", f"app@{DIGEST}", f"app:v1@{DIGEST}"])
def test_both_hosts_name_the_same_image(host: str, rest: str) -> None:
    image = image_names.parse(f"{host}/p-one/images/{rest}")
    assert image is not None
    assert image.repository == "projects/p-one/locations/us-central1/repositories/images"
    tag, digest = f":{image.tag}" if image.tag else "", f"@{image.digest}" if image.digest else ""
    assert f"{image.key}{tag}{digest}" == f"us-central1-docker.pkg.dev/p-one/images/{rest}"


@pytest.mark.parametrize(
    "name",
    [
        *("", "app", "docker.io/library/app", "us-central1-docker.pkg.dev", "us-central1-docker.pkg.dev/p/r"),
        *("us-central1-docker.pkg.dev.example.com/p/r/app", "us-central1-docker.pkg.dev/p/r/app@sha256:abc"),
    ],
)
def test_other_names_are_not_images(name: str) -> None:
    assert image_names.parse(name) is None


def test_through_changes_only_artifact_registry_names() -> None:
    for host in ("us-central1-docker.pkg.dev", "docker.us-central1.rep.pkg.dev"):
        assert image_names.through("localhost:5001", f"{host}/p/r/app") == f"localhost:5001/{host}/p/r/app"
    assert image_names.through("localhost:5001", "python:3.12-slim") == "python:3.12-slim"
