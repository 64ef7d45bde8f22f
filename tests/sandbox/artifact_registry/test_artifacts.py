"""Read and change packages, versions, tags, files and settings with Google's Python client and gcloud."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google.auth
import pytest
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import artifactregistry_v1 as ar
from google.protobuf import field_mask_pb2

from helpers import projects
from helpers.names import Project
from tests.sandbox.artifact_registry import filled_repositories
from tests.sandbox.artifact_registry.filled_repositories import API, INDEX, MANIFEST, digest_of


@dataclass(frozen=True)
class Held(filled_repositories.Held):
    """A repository with Google's own client."""

    client: ar.ArtifactRegistryClient


@pytest.fixture
def held(in_world: object) -> Iterator[Held]:
    project = os.environ["PROJECT_ID"]
    projects.enable(Project(project), "artifactregistry.googleapis.com")
    client = ar.ArtifactRegistryClient(transport="rest")
    made = client.create_repository(
        parent=f"projects/{project}/locations/us-central1",
        repository_id=f"r-{secrets.token_hex(4)}",
        repository=ar.Repository(format_="DOCKER"),
    ).result()
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    with AuthorizedSession(credentials) as session:
        yield Held(made.name, session, client)
    client.delete_repository(name=made.name).result()


def test_package_is_read_annotated_filtered_and_deleted(held: Held) -> None:
    held.push("app", "v1")
    held.push("team/nested", "v1")
    listed = list(held.client.list_packages(parent=held.name))
    assert [one.name for one in listed] == [f"{held.name}/packages/app", f"{held.name}/packages/team%2Fnested"]
    nested = held.client.get_package(name=listed[1].name)
    nested.annotations["team"] = "blue"
    mask = field_mask_pb2.FieldMask(paths=["annotations"])
    assert dict(held.client.update_package(package=nested, update_mask=mask).annotations) == {"team": "blue"}
    wanted = {"parent": held.name, "filter": 'annotations.team="BLUE"'}
    assert [one.name for one in held.client.list_packages(request=wanted)] == [nested.name]
    newest = held.client.list_packages(request={"parent": held.name, "order_by": "CREATE_TIME desc"})
    assert next(iter(newest)).name == nested.name
    held.client.delete_package(name=nested.name).result()
    with pytest.raises(exceptions.NotFound):
        held.client.get_package(name=nested.name)
    with pytest.raises(exceptions.BadRequest, match="displayName cannot change"):
        held.client.update_package(package=listed[0], update_mask=field_mask_pb2.FieldMask(paths=["display_name"]))


def test_annotations_of_the_api_and_the_manifest_are_separate(held: Held) -> None:
    digest = held.push("app", "v1", annotations={"org.example": "manifest"})
    name = held.version("app", digest)
    assert not held.client.get_version(name=name).annotations
    changed = ar.Version(name=name, annotations={"tested": "yes"})
    mask = field_mask_pb2.FieldMask(paths=["annotations"])
    assert dict(held.client.update_version(version=changed, update_mask=mask).annotations) == {"tested": "yes"}
    wanted = {"parent": name.rpartition("/versions/")[0], "filter": "annotations.tested:y*"}
    assert [one.name for one in held.client.list_versions(request=wanted)] == [name]
    referrers = held.session.get(f"{held.image}/app/manifests/{digest}").json()
    assert referrers["annotations"] == {"org.example": "manifest"}


def test_version_is_deleted_with_and_without_force_and_in_a_batch(held: Held) -> None:
    tagged, plain, other = held.push("app", "v1"), held.push("app"), held.push("other")
    with pytest.raises(exceptions.BadRequest, match="it is tagged"):
        held.client.delete_version(name=held.version("app", tagged)).result()
    names = [held.version("app", tagged), held.version("app", plain), held.version("other", other)]
    request = {"parent": f"{held.name}/packages/-", "names": names, "validate_only": True}
    operation = held.client.batch_delete_versions(request=request)
    operation.result()
    assert list(operation.metadata.failed_versions) == names[:1]
    assert held.client.get_version(name=names[1]).name == names[1]
    held.client.batch_delete_versions(request={**request, "validate_only": False}).result()
    assert [one.name for one in held.client.list_versions(parent=f"{held.name}/packages/app")] == names[:1]
    held.client.delete_version(request={"name": names[0], "force": True}).result()
    assert list(held.client.list_packages(parent=held.name)) == []


def test_tag_is_created_moved_filtered_and_deleted(held: Held) -> None:
    first, second = held.push("team/app", "v1"), held.push("team/app", "v2")
    parent = f"{held.name}/packages/team%2Fapp"
    made = held.client.create_tag(parent=parent, tag_id="stable", tag=ar.Tag(version=held.version("team/app", first)))
    assert made.name == f"{parent}/tags/stable"
    moved = ar.Tag(name=made.name, version=held.version("team/app", second))
    mask = field_mask_pb2.FieldMask(paths=["version"])
    assert held.client.update_tag(tag=moved, update_mask=mask).version == moved.version
    with pytest.raises(exceptions.BadRequest, match="name cannot change"):
        held.client.update_tag(tag=moved, update_mask=field_mask_pb2.FieldMask(paths=["name"]))
    wanted = {"parent": parent, "filter": f'version="{moved.version}"'}
    assert [one.name.rpartition("/")[2] for one in held.client.list_tags(request=wanted)] == ["stable", "v2"]
    full = held.client.get_version(request={"name": moved.version, "view": ar.VersionView.FULL})
    assert [tag.name.rpartition("/")[2] for tag in full.related_tags] == ["stable", "v2"]
    held.client.delete_tag(name=made.name)
    with pytest.raises(exceptions.NotFound):
        held.client.get_tag(name=made.name)


def test_multi_platform_image_lists_its_platforms(held: Held) -> None:
    entries = []
    for architecture in ("amd64", "arm64"):
        digest = held.push("app")
        size = len(held.session.get(f"{held.image}/app/manifests/{digest}").content)
        platform = {"architecture": architecture, "os": "linux", "os.features": ["sse4"], "os.version": 7}
        entries.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform})
    index = held.put("app", "all", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    found = held.client.get_docker_image(name=f"{held.name}/dockerImages/app@{index}")
    assert [(one.architecture, one.os, one.digest) for one in found.image_manifests] == [
        ("amd64", "linux", entries[0]["digest"]),
        ("arm64", "linux", entries[1]["digest"]),
    ]
    assert list(found.image_manifests[0].os_features) == ["sse4"]
    single = held.client.get_docker_image(name=f"{held.name}/dockerImages/app@{entries[0]['digest']}")
    assert not single.image_manifests
    assert list(found.tags) == ["all"]
    message = f"manifest has referenced parents: app/manifests/{index}"
    with pytest.raises(exceptions.FailedPrecondition, match=message):
        held.client.delete_version(name=held.version("app", entries[0]["digest"])).result()
    assert held.client.get_version(name=held.version("app", entries[0]["digest"]))


def test_docker_image_by_tag_is_refused(held: Held) -> None:
    held.push("app", "v1")
    with pytest.raises(exceptions.BadRequest, match=r"Request contains an invalid argument\."):
        held.client.get_docker_image(name=f"{held.name}/dockerImages/app:v1")


def test_slash_escaped_once_is_accepted(held: Held) -> None:
    """Google's discovery client and Terraform escape once, gcloud twice."""
    digest = held.push("team/sub/app", "v1")
    name = f"{held.name}/packages/team%2Fsub%2Fapp"
    for path, expected in (
        ("packages/team%2Fsub%2Fapp", name),
        ("packages/team%252Fsub%252Fapp", name),
        (f"packages/team%2Fsub%2Fapp/versions/{digest}", f"{name}/versions/{digest}"),
        ("packages/team%2Fsub%2Fapp/tags/v1", f"{name}/tags/v1"),
        (f"dockerImages/team%2Fsub%2Fapp%40{digest}", f"{held.name}/dockerImages/team%2Fsub%2Fapp@{digest}"),
    ):
        answer = held.get(path)
        assert (answer.status_code, answer.json().get("name")) == (200, expected)
    url = f"{API}/{held.name}/packages/team%2Fsub%2Fapp"
    version = f"{name}/versions/{digest}"
    for tag, sent in (("escaped", version), ("plain", version.replace("%2F", "/"))):
        made = held.session.post(f"{url}/tags?tagId={tag}", json={"version": sent})
        assert (made.status_code, made.json().get("version")) == (200, version), made.text
    for tag in ("escaped", "plain", "v1"):
        assert held.session.delete(f"{url}/tags/{tag}").status_code == 200
    gone = held.session.post(f"{url}/versions:batchDelete", json={"names": [version]})
    assert gone.status_code == 200, gone.text
    assert held.get("packages/team%2Fsub%2Fapp").status_code == 404


def test_artifact_has_its_artifact_type(held: Held) -> None:
    image = held.push("app", "v1")
    size = len(held.session.get(f"{held.image}/app/manifests/{image}").content)
    subject = {"mediaType": MANIFEST, "digest": image, "size": size}
    bill = held.push("app", subject=subject, artifactType="application/spdx+json")
    found = held.client.get_docker_image(name=f"{held.name}/dockerImages/app@{bill}")
    assert found.artifact_type == "application/spdx+json"
    version = held.client.get_version(name=held.version("app", bill))
    assert dict(version.metadata)["artifactType"] == "application/spdx+json"


def test_files_are_the_blobs_of_versions(held: Held) -> None:
    layer = secrets.token_bytes(5000)
    first, second = held.push("app", "v1", layer), held.push("app", "v2", layer)
    held.blob("app", b"never named by a manifest")
    files = {one.name.rpartition("/")[2]: one for one in held.client.list_files(parent=held.name)}
    assert {first, second, digest_of(layer)} < files.keys()
    assert len(files) == 5
    shared = held.client.get_file(name=f"{held.name}/files/{digest_of(layer)}")
    assert shared.size_bytes == 5000
    assert shared.hashes[0].type_ is ar.Hash.HashType.SHA256
    assert shared.hashes[0].value == hashlib.sha256(layer).digest()
    for digest in (first, second):
        wanted = {"parent": held.name, "filter": f'owner="{held.version("app", digest)}"'}
        owned = {one.name.rpartition("/")[2] for one in held.client.list_files(request=wanted)}
        assert {digest, digest_of(layer)} < owned
        assert len(owned) == 3
    largest = held.client.list_files(request={"parent": held.name, "order_by": "size_bytes desc"})
    assert next(iter(largest)).name == shared.name
    url = f"{API}/{shared.name}:download"
    assert held.session.get(url, params={"alt": "media"}).content == layer
    part = held.session.get(url, params={"alt": "media"}, headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == layer[10:20]
    with pytest.raises(exceptions.NotFound):
        held.client.get_file(name=f"{held.name}/files/{digest_of(b'never named by a manifest')}")


def test_gcloud_lists_downloads_and_annotates(held: Held, gcloud: Path, tmp_path: Path) -> None:
    layer = secrets.token_bytes(4 << 20)  # larger than one request of gcloud
    digest = held.push("app", "v1", layer)
    repository = held.name.rpartition("/")[2]
    place = [f"--repository={repository}", "--location=us-central1"]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [gcloud, *arguments], capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = json.loads(run("artifacts", "files", "list", *place, "--package=app", "--tag=v1", "--format=json"))
    assert len(listed) == 3
    run("artifacts", "files", "download", digest_of(layer), *place, f"--destination={tmp_path}", "--local-filename=l")
    assert (tmp_path / "l").read_bytes() == layer
    run("artifacts", "versions", "update", digest, "--package=app", *place, "--annotations=tested=yes")
    shown = run("artifacts", "versions", "describe", digest, "--package=app", *place, "--format=json")
    assert "tested" in shown
    settings = json.loads(run("artifacts", "settings", "describe", "--format=json"))
    assert settings["name"] == f"projects/{os.environ['PROJECT_ID']}/projectSettings"


def test_project_settings_change_until_finalized(held: Held) -> None:
    name = f"projects/{os.environ['PROJECT_ID']}/projectSettings"
    state = ar.ProjectSettings.RedirectionState
    mask = field_mask_pb2.FieldMask(paths=["legacy_redirection_state"])
    settings = ar.ProjectSettings(name=name, legacy_redirection_state=state.REDIRECTION_FROM_GCR_IO_ENABLED)
    held.client.update_project_settings(project_settings=settings, update_mask=mask)
    found = held.client.get_project_settings(name=name)
    assert found.legacy_redirection_state is state.REDIRECTION_FROM_GCR_IO_ENABLED
    url = f"{API}/{name}"
    for query, body in (("?updateMask=pullPercent", {"pullPercent": 101}), ("?updateMask=name", {}), ("", {"no": 1})):
        assert held.session.patch(url + query, json=body).status_code == 400
    settings.legacy_redirection_state = state.REDIRECTION_FROM_GCR_IO_FINALIZED
    held.client.update_project_settings(project_settings=settings, update_mask=mask)
    settings.legacy_redirection_state = state.REDIRECTION_FROM_GCR_IO_DISABLED
    with pytest.raises(exceptions.BadRequest, match="cannot be reverted"):
        held.client.update_project_settings(project_settings=settings, update_mask=mask)


def test_finished_operation_can_be_cancelled(held: Held) -> None:
    digest = held.push("app")
    operation = held.session.delete(f"{API}/{held.version('app', digest)}").json()
    assert held.session.post(f"{API}/{operation['name']}:cancel", json={}).json() == {}
    assert held.session.post(f"{API}/{operation['name']}:cancel", json={"no": 1}).status_code == 400
    assert held.session.post(f"{API}/{operation['name']}x:cancel").status_code == 404
    assert held.session.get(f"{API}/{operation['name']}").json()["done"] is True
