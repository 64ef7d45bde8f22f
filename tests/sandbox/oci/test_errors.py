"""Refusals: who may do what, in Artifact Registry's words, and input that no client should send."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sandbox.oci.conftest import Registry

HOST = "us-central1-docker.pkg.dev"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
UPLOAD = "artifactregistry.repositories.uploadArtifacts"
AR = "artifactregistry.googleapis.com"
DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
MISSING = "Missing image name. Pushes should be of the form docker push HOST-NAME/PROJECT-ID/REPOSITORY/IMAGE"


def refusal(answer: Any) -> tuple[int, str, str]:
    """Status, code and message; a registry's refusal has exactly this shape."""
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    (error,) = answer.json()["errors"]
    return answer.status_code, error["code"], error["message"]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def resource(registry: Registry, repository: str = "ml-images") -> str:
    return f"projects/{registry.project}/locations/us-central1/repositories/{repository}"


def get_token(registry: Registry, *scopes: str, headers: dict[str, str] | None = None, who: str = "") -> Any:
    return registry.call(
        "GET", "token", who=who, params={"scope": list(scopes), "service": "any"}, headers=headers or {}
    )


# Signing in


def test_the_challenge_keeps_the_way_in(door: Registry) -> None:
    name = door.name("app")
    service = HOST if door.base.startswith("https") else f"localhost:{door.port}"
    for method, path, scope in [
        ("GET", f"{name}/manifests/v1", f'scope="repository:{name}:pull"'),
        ("POST", f"{name}/blobs/uploads/", f'scope="repository:{name}:pull,push"'),
        ("DELETE", f"{name}/manifests/v1", f'scope="repository:{name}:delete"'),
    ]:
        answer = door.call(method, path, who="")
        assert refusal(answer) == (401, "UNAUTHORIZED", "not authenticated: No credential was supplied.")
        realm = f'Bearer realm="{door.base}/v2/token",service="{service}",{scope}'
        assert answer.headers["WWW-Authenticate"] == realm
    assert door.call("GET", "", who="").headers["WWW-Authenticate"] == f'Bearer realm="{door.base}/v2/token"'


@pytest.mark.parametrize(
    "user",
    ["oauth2accesstoken", "_token", "_dcgcloud_token", "_dcgcr_2_1_30_token", "_json_key", "_json_key_base64"],
)
def test_every_user_name_gets_a_token_that_works(door: Registry, user: str) -> None:
    key = (door.home / "learner-key.json").read_text()
    password = {"_json_key": key, "_json_key_base64": base64.b64encode(key.encode()).decode()}.get(
        user, door.tokens["owner"]
    )
    scope = f"repository:{door.name('app')}:push,pull"
    answer = get_token(door, scope, headers=basic(user, password))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body == {"token": body["token"], "expires_in": 43200}
    opened = door.call(
        "POST", f"{door.name('app')}/blobs/uploads/", who="", headers={"Authorization": f"Bearer {body['token']}"}
    )
    assert opened.status_code == 202
    assert door.call("GET", "", who="", headers=basic(user, password)).status_code == 200


def test_login_asks_without_a_scope(registry: Registry) -> None:
    token = get_token(registry, headers=basic("oauth2accesstoken", registry.tokens["nobody"])).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert registry.call("GET", "", who="", headers=headers).status_code == 200
    # A token without scopes reaches no image.
    answer = registry.call("GET", f"{registry.name('app')}/tags/list", who="", headers=headers)
    assert refusal(answer)[:2] == (401, "UNAUTHORIZED")
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "credential",
    ["expired", "unknown", "user", "not base64", "forged", "half", "another registry"],
)
def test_bad_credentials(registry: Registry, credential: str) -> None:
    sealed = get_token(registry, f"repository:{registry.name('app')}:pull", who="owner").json()["token"]
    headers = {
        "expired": basic("oauth2accesstoken", registry.tokens["expired"]),
        "unknown": basic("oauth2accesstoken", "ya29.nothing"),
        "user": basic("somebody", registry.tokens["owner"]),
        "not base64": {"Authorization": "Basic ###"},
        "forged": {"Authorization": f"Bearer {sealed[:-4]}AAAA"},
        "half": {"Authorization": f"Bearer {sealed.split('.')[0]}"},
        "another registry": {"Authorization": f"Bearer {sealed}", "Host": f"127.0.0.1:{registry.port}"},
    }[credential]
    answer = registry.call("GET", f"{registry.name('app')}/tags/list", who="", headers=headers)
    status, code, message = refusal(answer)
    assert (status, code) == (401, "UNAUTHORIZED")
    assert message == "not authenticated: No valid credential was supplied."
    # As on Google: who shows a credential is not told where to get another one.
    assert "WWW-Authenticate" not in answer.headers
    assert len(answer.content) == 102
    if credential in ("expired", "unknown", "user", "not base64"):
        assert refusal(get_token(registry, headers=headers))[:2] == (401, "UNAUTHORIZED")


def test_the_oauth_form(registry: Registry) -> None:
    form = {
        "grant_type": "password", "username": "oauth2accesstoken", "password": registry.tokens["writer"],
        "service": "any", "client_id": "test", "scope": f"repository:{registry.name('app')}:pull,push",
    }  # fmt: skip
    body = registry.call("POST", "token", who="", data=form).json()
    assert body["scope"] == form["scope"]
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    assert registry.call("POST", f"{registry.name('app')}/blobs/uploads/", who="", headers=headers).status_code == 202
    refused = registry.call("POST", "token", who="", data={**form, "grant_type": "refresh_token"})
    assert refusal(refused)[:2] == (400, "UNSUPPORTED")
    assert refusal(registry.call("POST", "token", who="", data=b"\xff=%"))[:2] == (400, "UNSUPPORTED")


# Rights


@pytest.mark.parametrize(
    ("who", "actions"), [("reader", "pull"), ("writer", "push,pull"), ("repoadmin", "push,pull,delete")]
)
def test_a_token_for_what_a_role_allows(registry: Registry, who: str, actions: str) -> None:
    name = registry.name("app")
    assert get_token(registry, f"repository:{name}:{actions}", who=who).status_code == 200
    assert get_token(registry, f"repository:{name}:*", who=who).status_code == 200


def test_a_token_for_what_a_role_refuses(registry: Registry) -> None:
    name = registry.name("app")
    said = f"Permission '{UPLOAD}' denied on resource '//{AR}/{resource(registry)}' (or it may not exist)."
    assert refusal(get_token(registry, f"repository:{name}:push,pull", who="reader")) == (403, "DENIED", said)
    said = (
        f'Unauthenticated request. Unauthenticated requests do not have permission "{UPLOAD}" on resource '
        f'"{resource(registry)}" (or it may not exist)'
    )
    assert refusal(get_token(registry, f"repository:{name}:push,pull")) == (403, "DENIED", said)
    elsewhere = f"repository:{HOST}/somebody-elses/repo/app:pull"
    assert refusal(get_token(registry, elsewhere, who="owner"))[:2] == (403, "DENIED")


def test_a_place_to_mount_from_that_is_refused_does_not_fail_a_push(registry: Registry) -> None:
    push = f"repository:{registry.name('app')}:push,pull"
    source = f"repository:{HOST}/somebody-elses/repo/app:pull"
    assert get_token(registry, source, push, who="writer").status_code == 200


def test_anonymous_callers_pull_what_is_public(registry: Registry) -> None:
    name = registry.name("app", "public")
    registry.push_manifest(name, "v1", registry.image(name, b"layer"))
    token = get_token(registry, f"repository:{name}:pull").json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert registry.call("GET", f"{name}/manifests/v1", who="", headers=headers).status_code == 200
    assert refusal(get_token(registry, f"repository:{name}:pull,push"))[:2] == (403, "DENIED")


def test_what_is_public_takes_no_token(door: Registry) -> None:
    name = door.name(f"image-{secrets.token_hex(4)}", "public")
    manifest = door.image(name, b"layer")
    door.push_manifest(name, "v1", manifest)
    for path in ("manifests/v1", "tags/list", f"blobs/{manifest['layers'][0]['digest']}"):
        assert door.call("GET", f"{name}/{path}", who="").status_code == 200
    assert door.call("HEAD", f"{name}/manifests/v1", who="").status_code == 200
    for method, path in (("POST", "blobs/uploads/"), ("PUT", "manifests/v2"), ("DELETE", "manifests/v1")):
        refused = door.call(method, f"{name}/{path}", who="")
        assert refusal(refused)[:2] == (401, "UNAUTHORIZED")
        assert f'scope="repository:{name}:' in refused.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("who", "method", "path", "permission"),
    [
        ("nobody", "GET", "tags/list", DOWNLOAD),
        ("nobody", "GET", "manifests/v1", DOWNLOAD),
        ("nobody", "GET", "blobs/sha256:" + "0" * 64, DOWNLOAD),
        ("nobody", "GET", "referrers/sha256:" + "0" * 64, DOWNLOAD),
        ("reader", "POST", "blobs/uploads/", UPLOAD),
        ("reader", "PUT", "manifests/v1", UPLOAD),
        ("writer", "DELETE", "manifests/v1", "artifactregistry.tags.delete"),
        ("writer", "DELETE", "manifests/sha256:" + "0" * 64, "artifactregistry.versions.delete"),
        ("writer", "DELETE", "blobs/sha256:" + "0" * 64, "artifactregistry.repositories.deleteArtifacts"),
    ],
)
def test_every_operation_is_decided(registry: Registry, who: str, method: str, path: str, permission: str) -> None:
    said = f"Permission '{permission}' denied on resource '//{AR}/{resource(registry)}' (or it may not exist)."
    answer = registry.call(method, f"{registry.name('app')}/{path}", who=who)
    assert refusal(answer) == (403, "DENIED", said)


def test_a_scope_for_one_image_is_none_for_another(registry: Registry, fresh: str) -> None:
    name = registry.name("app", "second")
    token = get_token(registry, f"repository:{name}:pull,push", who="writer").json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert registry.call("POST", f"{name}/blobs/uploads/", who="", headers=headers).status_code == 202
    assert registry.call("POST", f"{fresh}/blobs/uploads/", who="", headers=headers).status_code == 401
    assert registry.call("DELETE", f"{name}/manifests/v1", who="", headers=headers).status_code == 401


def test_a_repository_that_is_not_there(registry: Registry) -> None:
    for who, expected in [("owner", (404, "NAME_UNKNOWN", 'Repository "nope" not found')), ("writer", (403, "DENIED"))]:
        answer = registry.call("POST", f"{registry.name('app', 'nope')}/blobs/uploads/", who=who)
        assert refusal(answer)[: len(expected)] == expected


def test_an_api_that_is_not_enabled(registry: Registry) -> None:
    name = f"{registry.prefix}{registry.project}-off/repo/app"
    for answer in (
        registry.call("GET", f"{name}/tags/list"),
        get_token(registry, f"repository:{name}:pull", who="owner"),
    ):
        status, code, message = refusal(answer)
        assert (status, code) == (403, "DENIED")
        assert message.startswith("Artifact Registry API has not been used in project ")


def test_a_missing_image_name(door: Registry) -> None:
    for name in (f"{door.prefix}{door.project}/ml-images", f"{door.prefix}{door.project}"):
        answer = door.call("POST", f"{name}/blobs/uploads/")
        assert refusal(answer) == (400, "NAME_INVALID", MISSING)
    # The token endpoint says it of a push; to pull from a repository is to list what is in it.
    repository = f"repository:{door.prefix}{door.project}/ml-images"
    assert refusal(get_token(door, f"{repository}:push,pull", who="owner")) == (400, "NAME_INVALID", MISSING)
    assert get_token(door, f"{repository}:pull", who="owner").status_code == 200


def test_an_image_of_gcr_io_is_refused_by_name(registry: Registry) -> None:
    answer = registry.call("GET", "eu.gcr.io/a-project/app/manifests/v1")
    said = "The workbook's sandbox does not do this: images of eu.gcr.io"
    assert refusal(answer) == (404, "NAME_UNKNOWN", said)


# Rules of the catalog


def test_immutable_tags(registry: Registry) -> None:
    name = registry.name(f"image-{secrets.token_hex(4)}", "immutable")
    first = registry.image(name, b"first")
    digest = registry.push_manifest(name, "v1", first)
    assert registry.push_manifest(name, "v1", first) == digest
    body = registry.image(name, b"second")
    answer = registry.call("PUT", f"{name}/manifests/v1", json=body, headers={"Content-Type": OCI_MANIFEST})
    said = "cannot update tag v1. The repository has enabled tag immutability"
    assert refusal(answer) == (400, "MANIFEST_INVALID", said)
    assert registry.call("HEAD", f"{name}/manifests/v1").headers["Docker-Content-Digest"] == digest
    assert refusal(registry.call("DELETE", f"{name}/manifests/v1"))[:2] == (400, "MANIFEST_INVALID")
    assert refusal(registry.call("DELETE", f"{name}/manifests/{digest}"))[1] == "GOOGLE_MANIFEST_DANGLING_TAG"
    assert len(registry.call("GET", f"{name}/tags/list").json()["manifest"]) == 1


def test_a_writer_moves_a_tag(registry: Registry, fresh: str) -> None:
    for layer in (b"one", b"two"):
        content = json.dumps(registry.image(fresh, layer)).encode()
        answer = registry.call(
            "PUT", f"{fresh}/manifests/v1", data=content, who="writer", headers={"Content-Type": OCI_MANIFEST}
        )
        assert answer.status_code == 201
    found = registry.call("GET", f"{fresh}/tags/list").json()["manifest"]
    assert sorted(entry["tag"] for entry in found.values()) == [[], ["v1"]]


def test_dangling_deletes(registry: Registry, fresh: str) -> None:
    content = json.dumps(registry.image(fresh, b"layer")).encode()
    child = registry.push_manifest(fresh, "arm", content)
    kind = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": OCI_MANIFEST, "digest": child, "size": len(content)}
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}
    parent = registry.push_manifest(fresh, "all", index)
    said = "Manifest is still referenced by one or more tags"
    assert refusal(registry.call("DELETE", f"{fresh}/manifests/{parent}")) == (
        400,
        "GOOGLE_MANIFEST_DANGLING_TAG",
        said,
    )
    assert registry.call("DELETE", f"{fresh}/manifests/arm").status_code == 202
    said = f"Manifest is still referenced by one or more parent images: {parent}"
    expected = (400, "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE", said)
    assert refusal(registry.call("DELETE", f"{fresh}/manifests/{child}")) == expected
    for reference in ("all", parent, child):
        assert registry.call("DELETE", f"{fresh}/manifests/{reference}", who="repoadmin").status_code == 202
    assert refusal(registry.call("DELETE", f"{fresh}/manifests/{child}"))[:2] == (404, "MANIFEST_UNKNOWN")
    assert refusal(registry.call("DELETE", f"{fresh}/manifests/all"))[:2] == (404, "MANIFEST_UNKNOWN")


# Bad manifests


def bad_manifests() -> list[tuple[str, bytes, str]]:
    digest = "sha256:" + "0" * 64
    entry = {"mediaType": "a/b", "digest": digest, "size": 1}
    good: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry, "layers": []}
    signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    index = "application/vnd.oci.image.index.v1+json"
    return [
        ("not JSON", b"{", OCI_MANIFEST),
        ("not UTF-8", b'{"a": "\xff"}', OCI_MANIFEST),
        ("a list", b"[]", OCI_MANIFEST),
        ("deep", b"[" * 100_000, OCI_MANIFEST),
        ("schema 1", b'{"schemaVersion": 1, "name": "a", "tag": "b"}', signed),
        ("no type", b'{"schemaVersion": 2}', ""),
        ("unknown type", json.dumps({**good, "mediaType": "text/plain"}).encode(), "text/plain"),
        ("two types", json.dumps(good).encode(), "application/vnd.docker.distribution.manifest.v2+json"),
        ("type no string", json.dumps({**good, "mediaType": 7}).encode(), OCI_MANIFEST),
        ("schema 3", json.dumps({**good, "schemaVersion": 3}).encode(), OCI_MANIFEST),
        ("no config", json.dumps({**good, "config": None}).encode(), OCI_MANIFEST),
        ("no layers", json.dumps({**good, "layers": None}).encode(), OCI_MANIFEST),
        ("negative", json.dumps({**good, "config": {**entry, "size": -1}}).encode(), OCI_MANIFEST),
        ("a path", json.dumps({**good, "config": {**entry, "digest": "sha256:../../x"}}).encode(), OCI_MANIFEST),
        ("subject", json.dumps({**good, "subject": "v1"}).encode(), OCI_MANIFEST),
        ("annotations", json.dumps({**good, "annotations": {"a": 1}}).encode(), OCI_MANIFEST),
        ("artifactType", json.dumps({**good, "artifactType": []}).encode(), OCI_MANIFEST),
        ("surrogate", json.dumps({**good, "artifactType": "a/\ud800"}).encode(), OCI_MANIFEST),
        ("huge", json.dumps({**good, "config": {**entry, "size": 0}}).replace(": 0", ": " + "9" * 5000).encode(), ""),
        ("both", json.dumps({**good, "manifests": []}).encode(), OCI_MANIFEST),
        ("index", json.dumps({"schemaVersion": 2, "mediaType": index, "manifests": {}}).encode(), index),
        ("index with layers", json.dumps({**good, "mediaType": index, "manifests": []}).encode(), index),
    ]


@pytest.mark.parametrize(
    ("content", "kind"), [case[1:] for case in bad_manifests()], ids=[c[0] for c in bad_manifests()]
)
def test_bad_manifests(registry: Registry, fresh: str, content: bytes, kind: str) -> None:
    answer = registry.call("PUT", f"{fresh}/manifests/v1", data=content, headers={"Content-Type": kind})
    status, code, message = refusal(answer)
    assert (status, code in ("MANIFEST_INVALID", "DIGEST_INVALID"), bool(message)) == (400, True, True)
    assert registry.call("GET", f"{fresh}/tags/list").status_code == 404


@pytest.mark.parametrize(
    "config", [b"", b"[]", b'{"created": 7}', b'{"created": "9999-12-31T23:59:59-10:00"}', b"[" * 9999]
)
def test_a_config_of_any_kind_is_taken(registry: Registry, fresh: str, config: bytes) -> None:
    body = registry.image(fresh)
    body["config"] |= {"digest": registry.push_blob(fresh, config), "size": len(config)}
    registry.push_manifest(fresh, "v1", body)
    (found,) = registry.call("GET", f"{fresh}/tags/list").json()["manifest"].values()
    assert found["timeCreatedMs"] == "0"


def test_a_size_that_is_not_the_blobs(registry: Registry, fresh: str) -> None:
    body = registry.image(fresh, b"layer")
    body["layers"][0]["size"] = 6
    answer = registry.call("PUT", f"{fresh}/manifests/v1", json=body, headers={"Content-Type": OCI_MANIFEST})
    assert refusal(answer)[:2] == (400, "MANIFEST_INVALID")


# Bad requests


@pytest.mark.parametrize("tag", ["-a", ".a", "a" * 129, "a%20b", "a%00", "%C3%A4"])
def test_bad_tags(registry: Registry, fresh: str, tag: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = registry.call(method, f"{fresh}/manifests/{tag}", data=b"{}")
        assert refusal(answer)[:2] == (400, "TAG_INVALID")


@pytest.mark.parametrize(
    "image", ["App", "a_-b", "a//b", "-a", "a..b", "a%20b", "%2e%2e/app", "..%2f..%2fapp", "a" * 300]
)
def test_bad_names(registry: Registry, image: str) -> None:
    answer = registry.call("GET", f"{registry.name(image)}/manifests/v1")
    status, code, _ = refusal(answer)
    assert (status, code) == (400, "NAME_INVALID")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "manifests/v1", 405), ("PUT", "tags/list", 405), ("PATCH", "blobs/sha256:" + "0" * 64, 405),
        ("GET", "blobs/uploads/", 405), ("DELETE", "referrers/sha256:" + "0" * 64, 405), ("GET", "what/ever", 404),
        ("GET", "blobs/sha256:zz", 400), ("GET", "blobs/latest", 400), ("GET", "referrers/v1", 400),
        ("GET", "blobs/uploads/" + "0" * 32, 404), ("PUT", "blobs/uploads/..%2f..%2fworld.db", 400),
    ],
)  # fmt: skip
def test_bad_paths_and_verbs(registry: Registry, fresh: str, method: str, path: str, status: int) -> None:
    answer = registry.call(method, f"{fresh}/{path}")
    assert refusal(answer)[0] == status
    assert ("Allow" in answer.headers) == (status == 405)


def raw(registry: Registry, head: str, *body: bytes) -> bytes:
    """The start of an answer to a request written by hand; all of it, where the connection closes."""
    with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as line:
        token = registry.tokens["owner"]
        line.sendall(f"{head}Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        for part in body:
            line.sendall(part)
        answer = line.recv(65536)
        while b"connection: close" in answer.lower() and (more := line.recv(65536)):
            answer += more
        return answer


def test_a_request_over_the_limit_is_refused_before_it_is_sent(registry: Registry, fresh: str) -> None:
    for path, length in ((f"{fresh}/blobs/uploads/", 9_900_000_001), (f"{fresh}/manifests/v1", (4 << 20) + 1)):
        method = "PUT" if "manifests" in path else "POST"
        answer = raw(registry, f"{method} /v2/{path} HTTP/1.1\r\nContent-Length: {length}\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"SIZE_INVALID" in answer


def test_a_manifest_over_the_limit_is_refused_while_it_streams(registry: Registry, fresh: str) -> None:
    head = f"PUT /v2/{fresh}/manifests/v1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    # The body has no end: the answer comes because of the one byte too many.
    answer = raw(registry, head, *[b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 64, b"1\r\nx\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"SIZE_INVALID" in answer


def test_expect_100_continue(registry: Registry, fresh: str) -> None:
    digest = "sha256:" + hashlib.sha256(b"content").hexdigest()
    head = f"POST /v2/{fresh}/blobs/uploads/?digest={digest} HTTP/1.1\r\nContent-Length: 7\r\nExpect: 100-continue\r\n"
    assert raw(registry, head).startswith(b"HTTP/1.1 100 ")
    assert raw(registry, head, b"content").startswith(b"HTTP/1.1 100 ")
    refused = raw(registry, head.replace("POST", "PATCH"))
    assert refused.startswith(b"HTTP/1.1 405 ")


def test_a_body_that_stops_leaves_nothing(registry: Registry, fresh: str) -> None:
    begun = registry.call("POST", f"{fresh}/blobs/uploads/").headers
    location, name = begun["Location"], begun["Docker-Upload-UUID"]
    with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as line:
        line.sendall(f"PATCH {location} HTTP/1.1\r\nHost: localhost\r\n".encode())
        line.sendall(f"Content-Length: {8 << 20}\r\n\r\n".encode() + bytes(4 << 20))
        line.shutdown(socket.SHUT_WR)
        line.recv(1)
    deadline = time.monotonic() + 10
    while registry.call("GET", location).status_code != 404:
        assert time.monotonic() < deadline, "the half upload is still there"
    assert not (registry.home / "state" / "uploads" / name).exists()
