"""Check each requirement of OCI Distribution 1.1 on tags, the catalog and referrers, over a real socket."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sandbox.oci.conftest import OCI_MANIFEST, Registry, digest_of
from tests.sandbox.oci.wire import (
    OCI_INDEX,
    code,
    other,
    tag_many,
)


def test_unknown_image_has_no_tags(registry: Registry, fresh: str) -> None:
    answer = registry.call("GET", f"{fresh}/tags/list")
    assert (answer.status_code, code(answer)) == (404, "NAME_UNKNOWN")


def test_unknown_digest_has_no_referrers(registry: Registry, fresh: str) -> None:
    answer = registry.call("GET", f"{fresh}/referrers/{other()}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert answer.json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def test_tags_are_listed_in_pages(door: Registry) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}")
    tag_many(door, name, ["v10", "v2", "B", "a", "C1", "v1"])
    ordered = ["a", "B", "C1", "v1", "v10", "v2"]
    assert door.call("GET", f"{name}/tags/list").json()["tags"] == ordered
    assert door.call("GET", f"{name}/tags/list?last=C1").json()["tags"] == ordered[3:]
    assert door.call("GET", f"{name}/tags/list?last=b1").json()["tags"] == ordered[2:]
    seen, url = [], f"{name}/tags/list?n=4"
    while url:
        answer = door.call("GET", url)
        seen.append(answer.json()["tags"])
        url = answer.links.get("next", {}).get("url", "")
    assert seen == [ordered[:4], ordered[4:]]
    empty = door.call("GET", f"{name}/tags/list?n=0")
    assert (empty.json()["tags"], "Link" in empty.headers) == ([], False)
    assert door.call("GET", f"{name}/tags/list?n=-1").status_code == 400


def test_tags_list_has_googles_extension(registry: Registry, fresh: str) -> None:
    manifest = registry.image(fresh, b"layer")
    tagged = registry.push_manifest(fresh, "v1", manifest)
    content = json.dumps(registry.image(fresh, b"another")).encode()
    untagged = registry.push_manifest(fresh, digest_of(content), content)
    body = registry.call("GET", f"{fresh}/tags/list").json()
    assert body["name"] == fresh.removeprefix(registry.prefix)
    assert body["child"] == []
    assert set(body["manifest"]) == {tagged, untagged}
    found = body["manifest"][tagged]
    assert found["tag"] == ["v1"]
    assert found["mediaType"] == OCI_MANIFEST
    assert found["imageSizeBytes"] == str(manifest["config"]["size"] + 5)
    assert found["timeCreatedMs"] == "1790841600123"
    assert int(found["timeUploadedMs"]) > 0


def test_repository_and_path_list_their_children(door: Registry) -> None:
    team = f"team-{secrets.token_hex(4)}"
    for image in ("app", "deep/er", "deep/est"):
        tag_many(door, door.name(f"{team}/{image}"), ["v1"])
    repository = door.name("").rstrip("/")
    listed = door.call("GET", f"{repository}/tags/list").json()
    assert team in listed["child"]
    assert (listed["name"], listed["tags"], listed["manifest"]) == (f"{door.project}/ml-images", [], {})
    assert door.call("GET", f"{door.name(team)}/tags/list").json()["child"] == ["app", "deep"]
    below = door.call("GET", f"{door.name(team)}/deep/tags/list").json()
    assert (below["child"], below["name"]) == (["er", "est"], f"{door.project}/ml-images/{team}/deep")
    assert door.call("GET", f"{door.name(team)}/deep/er/tags/list").json()["tags"] == ["v1"]
    assert door.call("GET", f"{repository}/tags/list", who="nobody").status_code == 403


def test_catalog_requires_access_to_the_project(registry: Registry, fresh: str) -> None:
    tag_many(registry, fresh, ["v1"])
    names = registry.call("GET", "_catalog").json()["repositories"]
    assert fresh in names
    # A role on the repository allows pulling the image, but does not list it in the catalog.
    assert registry.call("GET", f"{fresh}/tags/list", who="reader").status_code == 200
    assert registry.call("GET", "_catalog", who="reader").json()["repositories"] == []
    member = f"serviceAccount:test-reader@{registry.project}.iam.gserviceaccount.com"
    policy = f"cloudresourcemanager.googleapis.com/v1/projects/{registry.project}"
    kept = registry.api("POST", f"{policy}:getIamPolicy", {})
    more = [*kept["bindings"], {"role": "roles/viewer", "members": [member]}]
    registry.api("POST", f"{policy}:setIamPolicy", {"policy": {"bindings": more}})
    try:
        assert fresh in registry.call("GET", "_catalog", who="reader").json()["repositories"]
    finally:
        registry.api("POST", f"{policy}:setIamPolicy", {"policy": {"bindings": kept["bindings"]}})
    first = registry.call("GET", "_catalog?n=1")
    assert first.json()["repositories"] == names[:1]
    by_host = registry.call("GET", f"{registry.base}/{registry.prefix}v2/_catalog").json()["repositories"]
    assert fresh.removeprefix(registry.prefix) in by_host


@pytest.mark.parametrize("kind", ["artifact", "image"])
def test_referrers_are_listed_and_tagged(door: Registry, kind: str) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}")
    image = door.image(name, b"layer")
    content = json.dumps(image).encode()
    subject = {"mediaType": OCI_MANIFEST, "digest": door.push_manifest(name, "v1", content), "size": len(content)}
    mine = {**door.image(name, b"about"), "subject": subject, "annotations": {"org.example.a": "b"}}
    if kind == "artifact":
        mine["artifactType"] = "application/x.sbom"
    wanted = mine.get("artifactType", mine["config"]["mediaType"])
    about = json.dumps(mine).encode()
    digest = digest_of(about)
    answer = door.call("PUT", f"{name}/manifests/{digest}", data=about, headers={"Content-Type": OCI_MANIFEST})
    assert answer.headers["OCI-Subject"] == subject["digest"]
    listed = door.call("GET", f"{name}/referrers/{subject['digest']}")
    assert listed.headers["Content-Type"] == OCI_INDEX
    assert "OCI-Filters-Applied" not in listed.headers
    described = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(about), "artifactType": wanted}
    assert listed.json()["manifests"] == [{**described, "annotations": {"org.example.a": "b"}}]
    tag = subject["digest"].replace(":", "-")
    assert tag in door.call("GET", f"{name}/tags/list").json()["tags"]
    kept = door.call("GET", f"{name}/manifests/{tag}")
    assert (kept.headers["Content-Type"], kept.json()) == (OCI_INDEX, listed.json())
    for artifact_type, count in ((wanted, 1), ("application/x.other", 0)):
        filtered = door.call("GET", f"{name}/referrers/{subject['digest']}", params={"artifactType": artifact_type})
        assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
        assert len(filtered.json()["manifests"]) == count


@pytest.mark.parametrize("repository", ["ml-images", "immutable"])
def test_manifest_with_referrers_cannot_be_deleted(registry: Registry, repository: str) -> None:
    name = registry.name(f"image-{secrets.token_hex(4)}", repository)
    content = json.dumps(registry.image(name, b"layer")).encode()
    digest = registry.push_manifest(name, digest_of(content), content)
    tag = digest.replace(":", "-")
    subject = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(content)}
    about = []
    for number in range(2):
        body = json.dumps({**registry.image(name, b"about %d" % number), "subject": subject}).encode()
        about.append(registry.push_manifest(name, digest_of(body), body))
        listed = registry.call("GET", f"{name}/manifests/{tag}").json()["manifests"]
        assert {entry["digest"] for entry in listed} == set(about)
    # The next push replaces the index that the one before it created.
    assert len(registry.call("GET", f"{name}/tags/list").json()["manifest"]) == 4
    for referrer in about:
        refused = registry.call("DELETE", f"{name}/manifests/{digest}")
        assert (refused.status_code, code(refused)) == (400, "GOOGLE_MANIFEST_REFERRING_MANIFEST")
        assert registry.call("DELETE", f"{name}/manifests/{referrer}").status_code == 202
    assert registry.call("HEAD", f"{name}/manifests/{tag}").status_code == 404
    assert registry.call("DELETE", f"{name}/manifests/{digest}").status_code == 202
    assert registry.call("GET", f"{name}/tags/list").status_code == 404


def test_concurrent_referrers_are_all_in_the_tag(registry: Registry, fresh: str) -> None:
    content = json.dumps(registry.image(fresh, b"layer")).encode()
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(content), "size": len(content)}
    registry.push_manifest(fresh, digest_of(content), content)
    bodies = [json.dumps({**registry.image(fresh, b"%d" % n), "subject": subject}).encode() for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        pushed = set(pool.map(lambda body: registry.push_manifest(fresh, digest_of(body), body), bodies))
    tag = subject["digest"].replace(":", "-")
    listed = registry.call("GET", f"{fresh}/manifests/{tag}").json()["manifests"]
    assert {entry["digest"] for entry in listed} == pushed
