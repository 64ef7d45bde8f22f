"""Use Google's signed addresses of downloads and uploads, which are outside /v2 and need no Authorization."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
import requests
from starlette.datastructures import Headers, QueryParams

from sandbox import seed
from sandbox.api.principal import Principal
from sandbox.errors import RegistryError
from sandbox.iam import standing
from sandbox.oci import signing
from sandbox.oci.address import Address, RegistryCall, image_of
from sandbox.state.clock import Clock
from sandbox.state.world import World

if TYPE_CHECKING:
    from tests.sandbox.oci.conftest import Registry

HOST = "us-central1-docker.pkg.dev"


def bare(door: Registry, method: str, location: str, **options: object) -> requests.Response:
    """Send a request without a credential."""
    url = urljoin(f"{door.base}/", location)
    return door.session.request(method, url, timeout=30, allow_redirects=False, **options)  # type: ignore[arg-type]


def redirect(door: Registry, name: str, digest: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {door.tokens['reader']}"}
    url = f"{door.base}/v2/{name}/blobs/{digest}"
    return door.session.get(url, headers=headers, timeout=30, allow_redirects=False)


def test_download_redirects_to_a_signed_address(door: Registry) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}")
    digest = door.push_blob(name, b"content")
    answer = redirect(door, name, digest)
    assert (answer.status_code, answer.content) == (302, b"")
    place = answer.headers["Location"]
    downloads = rf"/artifacts-downloads/namespaces/{door.project}/repositories/ml-images/downloads/[\w.-]+"
    assert re.fullmatch(downloads, place)
    assert 1000 <= len(place) < 1300
    found = bare(door, "GET", place)
    assert (found.status_code, found.content) == (200, b"content")
    assert found.headers["Docker-Content-Digest"] == digest
    part = bare(door, "GET", place, headers={"Range": "bytes=3-"})
    assert (part.status_code, part.content) == (206, b"tent")
    head = bare(door, "HEAD", place)
    assert (head.status_code, head.headers["Content-Length"]) == (200, "7")
    assert bare(door, "PUT", place, data=b"another").status_code == 405


def test_head_of_a_blob_does_not_redirect(door: Registry) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}")
    digest = door.push_blob(name, b"content")
    answer = door.session.head(
        f"{door.base}/v2/{name}/blobs/{digest}",
        headers={"Authorization": f"Bearer {door.tokens['reader']}"},
        timeout=30,
        allow_redirects=False,
    )
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "7")


def test_upload_continues_without_credential(door: Registry) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}")
    place = door.call("POST", f"{name}/blobs/uploads/", who="writer").headers["Location"]
    uploads = rf"/artifacts-uploads/namespaces/{door.project}/repositories/ml-images/uploads/[\w.-]+"
    assert re.fullmatch(uploads, place)
    assert len(place) > 1500
    sent = bare(door, "PATCH", place, data=b"content")
    assert (sent.status_code, sent.headers["Range"]) == (202, "0-6")
    assert bare(door, "GET", sent.headers["Location"]).status_code == 204
    digest = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    done = bare(door, "PUT", f"{sent.headers['Location']}?digest={digest}")
    assert done.status_code == 201
    assert door.call("GET", done.headers["Location"]).content == b"content"


def test_signed_address_requires_the_permission_at_each_request(registry: Registry) -> None:
    name = registry.name("app", "public")
    digest = registry.push_blob(name, b"content")
    anonymous = registry.call("GET", f"{registry.base}/v2/token", who="", params={"scope": f"repository:{name}:pull"})
    headers = {"Authorization": f"Bearer {anonymous.json()['token']}"}
    url = f"{registry.base}/v2/{name}/blobs/{digest}"
    place = registry.session.get(url, headers=headers, timeout=30, allow_redirects=False).headers["Location"]
    assert bare(registry, "GET", place).content == b"content"
    policy = f"artifactregistry.googleapis.com/v1/projects/{registry.project}/locations/us-central1/repositories/public"
    kept = registry.api("GET", f"{policy}:getIamPolicy")
    registry.api("POST", f"{policy}:setIamPolicy", {"policy": {"bindings": []}})
    try:
        refused = bare(registry, "GET", place)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "DENIED")
    finally:
        registry.api("POST", f"{policy}:setIamPolicy", {"policy": {"bindings": kept["bindings"]}})


@pytest.mark.parametrize("way", ["cut", "longer", "another kind", "another repository", "another host", "no token"])
def test_forged_address_is_refused(registry: Registry, fresh: str, way: str) -> None:
    place = redirect(registry, fresh, registry.push_blob(fresh, b"content")).headers["Location"]
    changed = {
        "cut": place[:-1],
        "longer": f"{place}A",
        "another kind": place.replace("download", "upload"),
        "another repository": place.replace("/ml-images/", "/second/"),
        "another host": f"/europe-west1-docker.pkg.dev{place}",
        "no token": place.rpartition("/")[0] + "/x",
    }[way]
    refused = bare(registry, "GET", changed)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "DENIED")


def test_log_contains_no_usable_address(registry: Registry, fresh: str) -> None:
    place = redirect(registry, fresh, registry.push_blob(fresh, b"content")).headers["Location"]
    token = place.rpartition("/")[2]
    assert bare(registry, "GET", place).status_code == 200
    log = (registry.home / "sandbox.log").read_text()
    assert f"{HOST}/artifacts-downloads/namespaces/{registry.project}/" in log
    assert token not in log
    assert token.partition(".")[0] not in log


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path / "state", Clock())
    seed.prepare(found, tmp_path, "ml-workbook-lab", "us-central1")
    yield found
    found.close()


@pytest.fixture
def ask(world: World) -> RegistryCall:
    address = Address(HOST, "/v2/", f"https://{HOST}", "")
    image = image_of(HOST, "ml-workbook-lab/ml-images/app")
    return RegistryCall(world, address, HOST, image, "GET", Headers(), QueryParams())


def test_expired_address_is_refused(world: World, ask: RegistryCall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "LIFETIME", -1)
    place = signing.address_of(ask, "download", "sha256:x", Principal("user:a@example.com"))
    with pytest.raises(RegistryError, match="has expired"):
        signing.open_address(world, Address("", place, f"https://{HOST}", ""))


def test_address_is_revoked_with_its_account(world: World, ask: RegistryCall) -> None:
    place = signing.address_of(ask, "upload", "id", Principal("user:a@example.com"))
    shown = Address("", place, f"https://{HOST}", "")
    found = signing.open_address(world, shown)
    assert (found.name, found.reference, found.principal.email) == (ask.image.path, "id", "a@example.com")
    with world.writing() as rows:
        standing.end_all(rows)
    with pytest.raises(RegistryError, match="has ended"):
        signing.open_address(world, shown)
