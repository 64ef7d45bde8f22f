"""Perform every operation of the registry with every predefined role, of an account and of an identity."""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.sandbox.iam import rights
from tests.sandbox.iam.rights import (
    BLIND,
    HOLDERS,
    HOST,
    MANIFEST,
    ROLES,
    SEES_PROJECT,
    Registry,
    difference,
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with rights.opened(tmp_path_factory.mktemp("rights")) as found:
        yield found


CONFIG = b"{}"
CONFIG_DIGEST = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"


def manifest(salt: str) -> tuple[bytes, str]:
    """Return a manifest that is unique to a salt, and its digest."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": CONFIG_DIGEST, "size": len(CONFIG)}
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], "annotations": {"salt": salt}}
    content = json.dumps(body).encode()
    return content, f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(scope="module")
def filled(registry: Registry) -> Registry:
    """Return the registry with an image tagged v1."""
    path = registry.image(f"blobs/uploads/?digest={CONFIG_DIGEST}")
    assert registry.call(registry.owner, "POST", path, data=CONFIG).status_code == 201
    assert registry.push("v1", manifest("v1")[0]).status_code == 201
    return registry


Operation = Callable[[Registry, str, str], httpx.Response]


def simply(verb: str, rest: str) -> Operation:
    """Return an operation of a single request."""
    return lambda found, token, _: found.call(token, verb, found.image(rest))


def scoped(actions: str) -> Operation:
    """Return an operation that requests a token for a scope."""

    def ask(found: Registry, token: str, _: str) -> httpx.Response:
        scope = f"repository:{HOST}/{found.project}/ml-images/app:{actions}"
        return found.call(token, "GET", "/v2/token", params={"service": "localhost", "scope": scope})

    return ask


def prepared(then: Callable[[Registry, str, str], httpx.Response]) -> Operation:
    """Return an operation on a new tag and version, which the owner pushes first."""

    def act(found: Registry, token: str, salt: str) -> httpx.Response:
        assert found.push(f"tag-{salt}", manifest(salt)[0]).status_code == 201
        return then(found, token, salt)

    return act


def untagged(found: Registry, token: str, salt: str) -> httpx.Response:
    content, digest = manifest(f"bare-{salt}")
    assert found.push(digest, content).status_code == 201
    return found.call(token, "DELETE", found.image(f"manifests/{digest}"))


def loose_blob(found: Registry, token: str, salt: str) -> httpx.Response:
    content = f"loose {salt}".encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    path = found.image(f"blobs/uploads/?digest={digest}")
    assert found.call(found.owner, "POST", path, data=content).status_code == 201
    return found.call(token, "DELETE", found.image(f"blobs/{digest}"))


DOWNLOAD, UPLOAD = "repositories.downloadArtifacts", "repositories.uploadArtifacts"
# Section 3.2: by operation, the permissions that it needs and the request
V2: dict[str, tuple[str, Operation]] = {
    "pull a manifest": (DOWNLOAD, simply("GET", "manifests/v1")),
    "look at a manifest": (DOWNLOAD, simply("HEAD", "manifests/v1")),
    "pull a blob": (DOWNLOAD, simply("GET", f"blobs/{CONFIG_DIGEST}")),
    "look at a blob": (DOWNLOAD, simply("HEAD", f"blobs/{CONFIG_DIGEST}")),
    "list tags": (DOWNLOAD, simply("GET", "tags/list")),
    "list referrers": (DOWNLOAD, simply("GET", f"referrers/{CONFIG_DIGEST}")),
    "begin an upload": (UPLOAD, simply("POST", "blobs/uploads/")),
    "push a new tag": (
        f"{UPLOAD} tags.create",
        lambda found, token, salt: found.push(f"new-{salt}", manifest("v1")[0], token),
    ),
    "push without a tag": (
        UPLOAD,
        lambda found, token, salt: found.push(manifest(f"by-{salt}")[1], manifest(f"by-{salt}")[0], token),
    ),
    "move a tag": (
        f"{UPLOAD} tags.update",
        prepared(lambda found, token, salt: found.push(f"tag-{salt}", manifest("v1")[0], token)),
    ),
    "push the same again": (
        UPLOAD,
        prepared(lambda found, token, salt: found.push(f"tag-{salt}", manifest(salt)[0], token)),
    ),
    "delete a tag": (
        "tags.delete",
        prepared(lambda found, token, salt: found.call(token, "DELETE", found.image(f"manifests/tag-{salt}"))),
    ),
    "delete a version": ("versions.delete repositories.deleteArtifacts", untagged),
    "delete a blob": ("repositories.deleteArtifacts", loose_blob),
    "a token to pull": (DOWNLOAD, scoped("pull")),
    "a token to push": (f"{DOWNLOAD} {UPLOAD}", scoped("pull,push")),
    "a token to delete": ("repositories.deleteArtifacts", scoped("delete")),
}


@pytest.mark.parametrize("who", HOLDERS)
@pytest.mark.parametrize("level", ["project", "repository"])
@pytest.mark.parametrize("operation", V2)
def test_registry_operation_requires_the_permissions_of_section_3_2(
    filled: Registry, operation: str, level: str, who: str
) -> None:
    permissions, act = V2[operation]
    needed = frozenset(permissions.split())
    wrong = []
    for number, role in enumerate(ROLES):
        answer = act(filled, filled.tokens[who, level, role], f"{level}-{number}-{secrets.token_hex(2)}")
        if answer.request.method == "HEAD":
            # The response to HEAD has no body that names a permission.
            allowed = needed <= ROLES[role]
            wrong.append("" if (answer.status_code == 200) is allowed else f"{role}: {answer.status_code}")
            continue
        assert answer.status_code in (200, 201, 202, 403), answer.text
        wrong.append(difference(operation, needed, role, level, answer))
    assert not list(filter(None, wrong))


def catalogs(filled: Registry, level: str, who: str) -> dict[str, dict[str, list[str]]]:
    """Return the catalog's response to each role."""
    return {role: filled.call(filled.tokens[who, level, role], "GET", "/v2/_catalog").json() for role in ROLES}


def showing(image: str, roles: set[str]) -> dict[str, dict[str, list[str]]]:
    """Return the responses if only these roles can see the image."""
    return {role: {"repositories": [image] if role in roles else []} for role in ROLES}


@pytest.mark.parametrize("who", HOLDERS)
@pytest.mark.parametrize("level", ["project", "repository"])
def test_catalog_requires_the_permission_to_pull_and_to_see_the_project(filled: Registry, level: str, who: str) -> None:
    """Section 3.2: a role on the repository alone is not enough (gcr-cleaner#80)."""
    image = f"{HOST}/{filled.project}/ml-images/app"
    pulling = {role for role in ROLES if DOWNLOAD in ROLES[role]}
    assert catalogs(filled, level, who) == showing(image, pulling - BLIND if level == "project" else set())
    url = f"/cloudresourcemanager.googleapis.com/v1/projects/{filled.project}"
    before = filled.call(filled.owner, "POST", f"{url}:getIamPolicy", json={}).json()["bindings"]
    seeing = {"role": f"roles/{SEES_PROJECT}", "members": [filled.members[who, level, role] for role in ROLES]}
    granted = {"policy": {"bindings": [*before, seeing]}}
    try:
        assert filled.call(filled.owner, "POST", f"{url}:setIamPolicy", json=granted).status_code == 200
        assert catalogs(filled, level, who) == showing(image, pulling)
    finally:
        restored = {"policy": {"bindings": before}}
        assert filled.call(filled.owner, "POST", f"{url}:setIamPolicy", json=restored).status_code == 200


def test_role_without_permissions_is_refused_every_operation(tmp_path: Path, filled: Registry) -> None:
    """Check the test itself: a role without permissions is refused."""
    for who, (name, (_, act)) in itertools.product(HOLDERS, V2.items()):
        token = filled.tokens[who, "project", "run.invoker"]
        assert act(filled, token, f"none-{secrets.token_hex(3)}").status_code == 403, name
