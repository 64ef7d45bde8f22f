"""Get registry tokens, and refuse callers without permission in Artifact Registry's words."""

from __future__ import annotations

import base64
import secrets

import pytest

from tests.sandbox.oci.conftest import HOST, SERVICE, Registry
from tests.sandbox.oci.wire import DOWNLOAD, UPLOAD, basic, get_token, refusal, resource

MISSING = "Missing image name. Pushes should be of the form docker push HOST-NAME/PROJECT-ID/REPOSITORY/IMAGE"


def test_challenge_has_the_endpoint_of_the_request(door: Registry) -> None:
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
def test_every_user_name_gets_a_working_token(door: Registry, user: str) -> None:
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


def test_token_without_scope_only_authenticates(registry: Registry) -> None:
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
def test_invalid_credential_is_refused_without_challenge(registry: Registry, credential: str) -> None:
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
    # As on Google, a request with an invalid credential gets no challenge.
    assert "WWW-Authenticate" not in answer.headers
    assert len(answer.content) == 102
    if credential in ("expired", "unknown", "user", "not base64"):
        assert refusal(get_token(registry, headers=headers))[:2] == (401, "UNAUTHORIZED")


def test_oauth_form_gets_a_token(registry: Registry) -> None:
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


@pytest.mark.parametrize(
    ("who", "actions"), [("reader", "pull"), ("writer", "push,pull"), ("repoadmin", "push,pull,delete")]
)
def test_token_for_allowed_actions_is_granted(registry: Registry, who: str, actions: str) -> None:
    name = registry.name("app")
    assert get_token(registry, f"repository:{name}:{actions}", who=who).status_code == 200
    assert get_token(registry, f"repository:{name}:*", who=who).status_code == 200


def test_token_for_forbidden_actions_is_refused(registry: Registry) -> None:
    name = registry.name("app")
    message = f"Permission '{UPLOAD}' denied on resource '//{SERVICE}/{resource(registry)}' (or it may not exist)."
    assert refusal(get_token(registry, f"repository:{name}:push,pull", who="reader")) == (403, "DENIED", message)
    message = (
        f'Unauthenticated request. Unauthenticated requests do not have permission "{UPLOAD}" on resource '
        f'"{resource(registry)}" (or it may not exist)'
    )
    assert refusal(get_token(registry, f"repository:{name}:push,pull")) == (403, "DENIED", message)
    elsewhere = f"repository:{HOST}/somebody-elses/repo/app:pull"
    assert refusal(get_token(registry, elsewhere, who="owner"))[:2] == (403, "DENIED")


def test_forbidden_mount_source_does_not_fail_a_push_token(registry: Registry) -> None:
    push = f"repository:{registry.name('app')}:push,pull"
    source = f"repository:{HOST}/somebody-elses/repo/app:pull"
    assert get_token(registry, source, push, who="writer").status_code == 200


def test_anonymous_token_pulls_a_public_image(registry: Registry) -> None:
    name = registry.name("app", "public")
    registry.push_manifest(name, "v1", registry.image(name, b"layer"))
    token = get_token(registry, f"repository:{name}:pull").json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert registry.call("GET", f"{name}/manifests/v1", who="", headers=headers).status_code == 200
    assert refusal(get_token(registry, f"repository:{name}:pull,push"))[:2] == (403, "DENIED")


def test_public_image_is_pulled_without_token(door: Registry) -> None:
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
def test_operation_without_permission_is_refused(
    registry: Registry, who: str, method: str, path: str, permission: str
) -> None:
    message = f"Permission '{permission}' denied on resource '//{SERVICE}/{resource(registry)}' (or it may not exist)."
    answer = registry.call(method, f"{registry.name('app')}/{path}", who=who)
    assert refusal(answer) == (403, "DENIED", message)


def test_token_for_one_image_is_invalid_for_another(registry: Registry, fresh: str) -> None:
    name = registry.name("app", "second")
    token = get_token(registry, f"repository:{name}:pull,push", who="writer").json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert registry.call("POST", f"{name}/blobs/uploads/", who="", headers=headers).status_code == 202
    assert registry.call("POST", f"{fresh}/blobs/uploads/", who="", headers=headers).status_code == 401
    assert registry.call("DELETE", f"{name}/manifests/v1", who="", headers=headers).status_code == 401


def test_missing_repository_is_unknown_or_denied(registry: Registry) -> None:
    for who, expected in [("owner", (404, "NAME_UNKNOWN", 'Repository "nope" not found')), ("writer", (403, "DENIED"))]:
        answer = registry.call("POST", f"{registry.name('app', 'nope')}/blobs/uploads/", who=who)
        assert refusal(answer)[: len(expected)] == expected


def test_disabled_api_is_refused(registry: Registry) -> None:
    name = f"{registry.prefix}{registry.project}-off/repo/app"
    for answer in (
        registry.call("GET", f"{name}/tags/list"),
        get_token(registry, f"repository:{name}:pull", who="owner"),
    ):
        status, code, message = refusal(answer)
        assert (status, code) == (403, "DENIED")
        assert message.startswith("Artifact Registry API has not been used in project ")


def test_missing_image_name_is_refused(door: Registry) -> None:
    for name in (f"{door.prefix}{door.project}/ml-images", f"{door.prefix}{door.project}"):
        answer = door.call("POST", f"{name}/blobs/uploads/")
        assert refusal(answer) == (400, "NAME_INVALID", MISSING)
    # The token endpoint refuses only a push: the scope to pull from a repository allows listing its images.
    repository = f"repository:{door.prefix}{door.project}/ml-images"
    assert refusal(get_token(door, f"{repository}:push,pull", who="owner")) == (400, "NAME_INVALID", MISSING)
    assert get_token(door, f"{repository}:pull", who="owner").status_code == 200


def test_image_of_gcr_io_is_refused(registry: Registry) -> None:
    answer = registry.call("GET", "eu.gcr.io/a-project/app/manifests/v1")
    message = "The workbook's sandbox does not do this: images of eu.gcr.io"
    assert refusal(answer) == (404, "NAME_UNKNOWN", message)
