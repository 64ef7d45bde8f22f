"""OCI Distribution 1.1, requirement by requirement, over a real socket."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sandbox.oci.conftest import Registry

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCTETS = {"Content-Type": "application/octet-stream"}

algorithms = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def other(algorithm: str = "sha256") -> str:
    return digest_of(secrets.token_bytes(16), algorithm)


def code(answer: Any) -> str:
    """The first error's code; every refusal has a body with a code and a sentence."""
    error = answer.json()["errors"][0]
    assert error["message"]
    return str(error["code"])


def check_stored(registry: Registry, answer: Any, digest: str, content: bytes) -> None:
    """A 201 has a Location where the same bytes are."""
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


# Ping and empty


def test_ping(door: Registry) -> None:
    answer = door.call("GET", "")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_an_unknown_image_has_no_tags(registry: Registry, fresh: str) -> None:
    answer = registry.call("GET", f"{fresh}/tags/list")
    assert (answer.status_code, code(answer)) == (404, "NAME_UNKNOWN")


def test_an_unknown_digest_has_no_referrers(registry: Registry, fresh: str) -> None:
    answer = registry.call("GET", f"{fresh}/referrers/{other()}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert answer.json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


# Blobs


@algorithms
def test_a_missing_blob(registry: Registry, fresh: str, algorithm: str) -> None:
    assert code(registry.call("GET", f"{fresh}/blobs/{other(algorithm)}")) == "BLOB_UNKNOWN"
    assert registry.call("HEAD", f"{fresh}/blobs/{other(algorithm)}").status_code == 404


@algorithms
@pytest.mark.parametrize("content", [b"", b"{}", b"some bytes"], ids=["empty", "braces", "bytes"])
@pytest.mark.parametrize("way", ["post", "put", "patch", "stream"])
def test_push_head_get_delete(door: Registry, algorithm: str, content: bytes, way: str) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}", "second")
    digest = digest_of(content, algorithm)
    if way == "post":
        answer = door.call("POST", f"{name}/blobs/uploads/?digest={digest}", data=content, headers=OCTETS)
    else:
        location = open_upload(door, name)
        if way == "patch" and content:
            span = {"Content-Range": f"0-{len(content) - 1}", **OCTETS}
            patched = door.call("PATCH", location, data=content, headers=span)
            assert patched.status_code == 202
            assert patched.headers["Range"] == f"0-{len(content) - 1}"
            location = patched.headers["Location"]
        if way == "stream":
            patched = door.call("PATCH", location, data=iter([content[:4], content[4:]]), headers=OCTETS)
            assert patched.status_code == 202
            location = patched.headers["Location"]
        body = content if way == "put" or (way == "patch" and not content) else b""
        answer = door.call("PUT", joined(location, digest), data=body, headers=OCTETS)
    check_stored(door, answer, digest, content)
    head = door.call("HEAD", f"{name}/blobs/{digest}")
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(content)))
    assert head.headers["ETag"] == f'"{digest}"'
    assert door.call("DELETE", f"{name}/blobs/{digest}").status_code == 202
    assert door.call("HEAD", f"{name}/blobs/{digest}").status_code == 404


def chunked(size: int) -> Iterator[bytes]:
    piece = bytes(range(256)) * 256
    for _ in range(size // len(piece)):
        yield piece


def test_a_large_stream(registry: Registry, fresh: str) -> None:
    size = 24 << 20
    digest = "sha256:" + hashlib.sha256(b"".join(chunked(size))).hexdigest()
    location = registry.call("PATCH", open_upload(registry, fresh), data=chunked(size)).headers["Location"]
    assert registry.call("PUT", joined(location, digest)).status_code == 201
    answer = registry.call("GET", f"{fresh}/blobs/{digest}")
    assert digest_of(answer.content) == digest
    part = registry.call("GET", f"{fresh}/blobs/{digest}", headers={"Range": f"bytes=100-{(8 << 20) + 99}"})
    assert part.content == answer.content[100 : (8 << 20) + 100]


@algorithms
@pytest.mark.parametrize("way", ["post", "put", "patch", "stream"])
def test_a_wrong_digest(registry: Registry, fresh: str, algorithm: str, way: str) -> None:
    wrong = other(algorithm)
    if way == "post":
        answer = registry.call("POST", f"{fresh}/blobs/uploads/?digest={wrong}", data=b"content")
    else:
        location = open_upload(registry, fresh)
        if way != "put":
            body = b"content" if way == "patch" else iter([b"content"])
            location = registry.call("PATCH", location, data=body).headers["Location"]
        answer = registry.call("PUT", joined(location, wrong), data=b"content" if way == "put" else b"")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    assert registry.call("HEAD", f"{fresh}/blobs/{wrong}").status_code == 404


@pytest.mark.parametrize("digest", ["", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "A" * 64])
def test_a_malformed_digest(registry: Registry, fresh: str, digest: str) -> None:
    answer = registry.call("PUT", joined(open_upload(registry, fresh), digest), data=b"x")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


def test_a_chunk_out_of_order(registry: Registry, fresh: str) -> None:
    location = open_upload(registry, fresh)
    answer = registry.call("PATCH", location, data=b"later", headers={"Content-Range": "5-9", **OCTETS})
    assert (answer.status_code, code(answer)) == (416, "RANGE_INVALID")
    status = registry.call("GET", location)
    assert (status.status_code, status.headers["Location"]) == (204, location)
    answer = registry.call("PATCH", location, data=b"first", headers={"Content-Range": "0-4", **OCTETS})
    assert answer.status_code == 202
    answer = registry.call(
        "PUT", joined(location, digest_of(b"firstlast")), data=b"last", headers={"Content-Range": "9-12"}
    )
    assert (answer.status_code, code(answer)) == (416, "RANGE_INVALID")
    status = registry.call("GET", location)
    assert (status.status_code, status.headers["Range"]) == (204, "0-4")


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_second_chunk_is_refused_and_the_upload_survives(registry: Registry, fresh: str, method: str) -> None:
    location = open_upload(registry, fresh)
    assert registry.call("PATCH", location, data=b"first").status_code == 202
    url = location if method == "PATCH" else joined(location, digest_of(b"firstsecond"))
    answer = registry.call(method, url, data=b"second", headers={"Content-Range": "5-10"})
    assert (answer.status_code, code(answer)) == (405, "UNSUPPORTED")
    check_stored(registry, registry.call("PUT", joined(location, digest_of(b"first"))), digest_of(b"first"), b"first")


def test_cancel(registry: Registry, fresh: str) -> None:
    location = open_upload(registry, fresh)
    assert registry.call("DELETE", location).status_code == 204
    assert code(registry.call("GET", location)) == "BLOB_UPLOAD_UNKNOWN"


def test_mount(door: Registry) -> None:
    content = secrets.token_bytes(40)
    source, target = door.name("source"), door.name("target", "second")
    digest = door.push_blob(source, content)
    answer = door.call("POST", f"{target}/blobs/uploads/?mount={digest}&from={source}")
    check_stored(door, answer, digest, content)


def test_mount_without_from(registry: Registry, fresh: str) -> None:
    answer = registry.call("POST", f"{fresh}/blobs/uploads/?mount={other()}")
    assert answer.status_code == 202


@pytest.mark.parametrize("source", ["missing", "elsewhere", "unreadable"])
def test_mount_of_what_is_not_there_opens_an_upload(registry: Registry, fresh: str, source: str) -> None:
    content = secrets.token_bytes(40)
    names = {
        "missing": registry.name("source", "second"),
        "elsewhere": registry.name("source").replace("us-central1", "europe-west1"),
        "unreadable": f"{registry.prefix}{registry.project}-off/some/where",
    }
    answer = registry.call("POST", f"{fresh}/blobs/uploads/?mount={digest_of(content)}&from={names[source]}")
    assert answer.status_code == 202
    answer = registry.call("PUT", joined(answer.headers["Location"], digest_of(content)), data=content)
    check_stored(registry, answer, digest_of(content), content)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047), ("2000-5000", 2000, 2047), ("-5000", 0, 2047)],
)
def test_ranges(registry: Registry, fresh: str, asked: str, first: int, last: int) -> None:
    content = secrets.token_bytes(2048)
    digest = registry.push_blob(fresh, content)
    answer = registry.call("GET", f"{fresh}/blobs/{digest}", headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content) == (206, content[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/2048"
    assert answer.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", ["500-0", "5000-10000", "-0", "-", "x-y", "0-" + "9" * 5000, "9" * 5000 + "-"])
def test_ranges_that_nothing_satisfies(registry: Registry, fresh: str, asked: str) -> None:
    digest = registry.push_blob(fresh, bytes(2048))
    answer = registry.call("GET", f"{fresh}/blobs/{digest}", headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, code(answer)) == (416, "RANGE_INVALID")
    assert answer.headers["Content-Range"] == "bytes */2048"


def test_conditions(registry: Registry, fresh: str) -> None:
    digest = registry.push_blob(fresh, b"content")
    url = f"{fresh}/blobs/{digest}"
    assert registry.call("GET", url, headers={"If-None-Match": f'"{digest}"'}).status_code == 304
    stale = registry.call("GET", url, headers={"Range": "bytes=0-1", "If-Range": '"another"'})
    assert (stale.status_code, stale.content) == (200, b"content")
    several = registry.call("GET", url, headers={"Range": "bytes=0-1,3-4"})
    assert (several.status_code, several.content) == (200, b"content")


@pytest.mark.parametrize("size", [1, 64 << 10, (64 << 10) + 1])
def test_a_blob_that_is_on_the_disk_alone(door: Registry, size: int) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}")
    content = secrets.token_bytes(size)
    digest = door.push_blob(name, content)
    algorithm, value = digest.split(":")
    with (door.home / "state" / "blobs" / algorithm / value[:2] / value).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for _ in range(2):  # the second time it is in memory
        assert door.call("GET", f"{name}/blobs/{digest}").content == content
        last = door.call("GET", f"{name}/blobs/{digest}", headers={"Range": f"bytes={size - 1}-"})
        assert (last.status_code, last.content) == (206, content[-1:])


def test_a_blob_in_use_stays(registry: Registry, fresh: str) -> None:
    manifest = registry.image(fresh, b"layer")
    registry.push_manifest(fresh, "v1", manifest)
    for digest in (manifest["config"]["digest"], manifest["layers"][0]["digest"]):
        answer = registry.call("DELETE", f"{fresh}/blobs/{digest}")
        assert (answer.status_code, code(answer)) == (405, "UNSUPPORTED")


def test_the_same_blob_from_many_at_once(registry: Registry, fresh: str) -> None:
    content = secrets.token_bytes(1 << 20)
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: registry.push_blob(fresh, content), range(16)))
    assert digests == {digest_of(content)}
    assert registry.call("GET", f"{fresh}/blobs/{digest_of(content)}").content == content


# Manifests


def check_manifest(registry: Registry, name: str, reference: str, content: bytes, kind: str) -> None:
    for method in ("HEAD", "GET"):
        answer = registry.call(method, f"{name}/manifests/{reference}", headers={"Accept": f"{OCI_INDEX}, {kind}"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.content == (content if method == "GET" else b"")


def data_set(registry: Registry, name: str, which: str) -> dict[str, Any]:
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": registry.push_blob(name, b"{}"), "size": 2}
    artifact = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "text/x.thing", "config": empty}
    image = registry.image(name, secrets.token_bytes(9), secrets.token_bytes(9))
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    away = {"mediaType": foreign, "digest": other(), "size": 123456, "urls": ["https://example.com/layer"]}
    match which:
        case "image":
            return image
        case "docker":
            return {**image, "mediaType": DOCKER_MANIFEST}
        case "large":
            return {**image, "annotations": {f"org.example.{n}": "x" * 10_000 for n in range(390)}}
        case "artifact":
            return {**artifact, "layers": [image["layers"][0]]}
        case "artifact without layers":
            return {**artifact, "layers": [empty]}
        case "missing subject":
            return {**image, "subject": {"mediaType": OCI_MANIFEST, "digest": other(), "size": 100}}
        case "data field":
            return {**artifact, "config": {**empty, "data": "e30="}, "layers": [{**empty, "data": "e30="}]}
        case "non-distributable":
            return {**image, "layers": [*image["layers"], away]}
        case "custom fields":
            return {**image, "org.example.field": {"z": 1, "a": [2]}}
        case "no layers":
            return {**image, "layers": []}
        case "empty index":
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    children = [(OCI_MANIFEST, image), (OCI_MANIFEST, registry.image(name, secrets.token_bytes(9)))]
    if which == "artifact index":
        children.append((OCI_MANIFEST, {**artifact, "layers": [empty]}))
    described = []
    for kind, child in children:
        content = json.dumps(child).encode()
        digest = registry.push_manifest(name, digest_of(content), content)
        described.append({"mediaType": kind, "digest": digest, "size": len(content)})
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described}
    if which == "nested index":
        content = json.dumps(index).encode()
        digest = registry.push_manifest(name, digest_of(content), content)
        index = {**index, "manifests": [{"mediaType": OCI_INDEX, "digest": digest, "size": len(content)}]}
    if which == "index with subject":
        index["subject"] = {"mediaType": OCI_MANIFEST, "digest": described[0]["digest"], "size": described[0]["size"]}
    return {**index, "mediaType": DOCKER_LIST} if which == "docker list" else index


DATA_SETS = [
    "image", "docker", "large", "artifact", "artifact without layers", "missing subject", "data field",
    "non-distributable", "custom fields", "no layers", "empty index", "index", "docker list", "nested index",
    "artifact index", "index with subject",
]  # fmt: skip


def held_by(registry: Registry, name: str, body: dict[str, Any]) -> tuple[list[str], set[str]]:
    """What a manifest needs to be here: digests of manifests, in the order of their push, and of blobs."""
    children: list[str] = []
    entries = [*body.get("layers", []), *([body["config"]] if "config" in body else [])]
    needed = {entry["digest"] for entry in entries if "urls" not in entry}
    for entry in body.get("manifests", []):
        below, blobs = held_by(registry, name, registry.call("GET", f"{name}/manifests/{entry['digest']}").json())
        children += [*below, entry["digest"]]
        needed |= blobs
    return children, needed


@algorithms
@pytest.mark.parametrize("which", DATA_SETS)
def test_a_data_set_comes_back_and_goes(registry: Registry, fresh: str, which: str, algorithm: str) -> None:
    body = data_set(registry, fresh, which)
    content = json.dumps(body, indent=3).encode()
    digest = digest_of(content, algorithm)
    kind = {"Content-Type": body["mediaType"]}
    answer = registry.call("PUT", f"{fresh}/manifests/{digest}", data=content, headers=kind)
    check_stored(registry, answer, digest, content)
    assert answer.headers.get("OCI-Subject") == body.get("subject", {}).get("digest")
    answer = registry.call("PUT", f"{fresh}/manifests/v1?digest={digest}", data=content, headers=kind)
    check_stored(registry, answer, digest, content)
    for reference in (digest, "v1"):
        check_manifest(registry, fresh, reference, content, body["mediaType"])
    own = [body["subject"]["digest"].replace(":", "-")] if "subject" in body else []
    assert registry.call("GET", f"{fresh}/tags/list").json()["tags"] == [*own, "v1"]
    children, needed = held_by(registry, fresh, body)
    # The only order that Artifact Registry takes: tags, then manifests as they were pushed but backwards, then blobs.
    gone = [f"manifests/{reference}" for reference in ("v1", digest, *reversed(children))]
    for path in [*gone, *(f"blobs/{blob}" for blob in sorted(needed))]:
        assert registry.call("DELETE", f"{fresh}/{path}").status_code == 202, path
        assert registry.call("HEAD", f"{fresh}/{path}").status_code == 404, path


def test_tags_in_the_query(registry: Registry, fresh: str) -> None:
    content = json.dumps(registry.image(fresh, b"layer")).encode()
    url = f"{fresh}/manifests/{digest_of(content)}?tag=one&tag=two"
    answer = registry.call("PUT", url, data=content, headers={"Content-Type": OCI_MANIFEST})
    assert (answer.status_code, answer.headers["OCI-Tag"]) == (201, "one, two")
    assert registry.call("GET", f"{fresh}/tags/list").json()["tags"] == ["one", "two"]


@algorithms
def test_a_manifest_under_a_wrong_digest(registry: Registry, fresh: str, algorithm: str) -> None:
    content = json.dumps(registry.image(fresh, b"layer")).encode()
    url = f"{fresh}/manifests/{other(algorithm)}"
    answer = registry.call("PUT", url, data=content, headers={"Content-Type": OCI_MANIFEST})
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


def test_missing_manifests(registry: Registry, fresh: str) -> None:
    for reference in (other(), other("sha512"), "latest"):
        answer = registry.call("GET", f"{fresh}/manifests/{reference}")
        assert (answer.status_code, code(answer)) == (404, "MANIFEST_UNKNOWN")
        assert answer.json()["errors"][0]["message"] == f'Failed to fetch "{reference}"'
    for method in ("PUT", "GET"):
        answer = registry.call(method, f"{fresh}/manifests/sha256:baddigeststring", data=b"{}")
        assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("which", ["config", "layer", "child"])
def test_what_a_manifest_needs_must_be_here(registry: Registry, fresh: str, which: str) -> None:
    body = registry.image(fresh, b"layer")
    absent = {"mediaType": OCI_MANIFEST, "digest": other(), "size": 7}
    body = {
        "config": {**body, "config": absent},
        "layer": {**body, "layers": [absent]},
        "child": {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [absent]},
    }[which]
    answer = registry.call("PUT", f"{fresh}/manifests/v1", json=body, headers={"Content-Type": body["mediaType"]})
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert answer.json()["errors"][0]["detail"] == {"digest": absent["digest"]}
    assert registry.call("HEAD", f"{fresh}/manifests/v1").status_code == 404


def test_the_accept_header(registry: Registry, fresh: str) -> None:
    registry.push_manifest(fresh, "v1", registry.image(fresh, b"layer"))
    url = f"{fresh}/manifests/v1"
    for accept in ("*/*", OCI_MANIFEST, f"{DOCKER_MANIFEST};q=0.9, {OCI_MANIFEST};q=0.1"):
        assert registry.call("GET", url, headers={"Accept": accept}).status_code == 200
    answer = registry.call("GET", url, headers={"Accept": DOCKER_MANIFEST})
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_UNKNOWN")
    assert answer.json()["errors"][0]["message"].startswith(f'Manifest has media type "{OCI_MANIFEST}" but client')


# Listings


def tag_many(registry: Registry, name: str, tags: list[str]) -> str:
    body = json.dumps(registry.image(name, b"layer")).encode()
    query = "&".join(f"tag={tag}" for tag in tags)
    return registry.push_manifest(name, f"{digest_of(body)}?{query}", body)


def test_tags_in_pages(door: Registry) -> None:
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


def test_tags_carry_googles_extension(registry: Registry, fresh: str) -> None:
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


def test_a_repository_and_a_path_list_what_is_below(door: Registry) -> None:
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


def test_the_catalog(registry: Registry, fresh: str) -> None:
    tag_many(registry, fresh, ["v1"])
    names = registry.call("GET", "_catalog").json()["repositories"]
    assert fresh in names
    # A role on the repository opens the image, and not the list.
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
def test_referrers(door: Registry, kind: str) -> None:
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
    for asked, count in ((wanted, 1), ("application/x.other", 0)):
        filtered = door.call("GET", f"{name}/referrers/{subject['digest']}", params={"artifactType": asked})
        assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
        assert len(filtered.json()["manifests"]) == count


@pytest.mark.parametrize("repository", ["ml-images", "immutable"])
def test_what_others_refer_to_stays_until_they_are_gone(registry: Registry, repository: str) -> None:
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
    # The index that one push made is gone with the next one.
    assert len(registry.call("GET", f"{name}/tags/list").json()["manifest"]) == 4
    for referrer in about:
        refused = registry.call("DELETE", f"{name}/manifests/{digest}")
        assert (refused.status_code, code(refused)) == (400, "GOOGLE_MANIFEST_REFERRING_MANIFEST")
        assert registry.call("DELETE", f"{name}/manifests/{referrer}").status_code == 202
    assert registry.call("HEAD", f"{name}/manifests/{tag}").status_code == 404
    assert registry.call("DELETE", f"{name}/manifests/{digest}").status_code == 202
    assert registry.call("GET", f"{name}/tags/list").status_code == 404


def test_referrers_that_come_at_once_are_all_in_the_tag(registry: Registry, fresh: str) -> None:
    content = json.dumps(registry.image(fresh, b"layer")).encode()
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(content), "size": len(content)}
    registry.push_manifest(fresh, digest_of(content), content)
    bodies = [json.dumps({**registry.image(fresh, b"%d" % n), "subject": subject}).encode() for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        pushed = set(pool.map(lambda body: registry.push_manifest(fresh, digest_of(body), body), bodies))
    tag = subject["digest"].replace(":", "-")
    listed = registry.call("GET", f"{fresh}/manifests/{tag}").json()["manifests"]
    assert {entry["digest"] for entry in listed} == pushed
