"""Store, read, disable and destroy secrets, with gcloud and by HTTP, and keep their values out of the request log."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.transport.requests import AuthorizedSession

from cli.world.starter import World
from tests.sandbox.conftest import account, ask, grant, learner_with, project

TOKEN = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:generateAccessToken"


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """Return the learner's session, in a project with the APIs enabled."""
    with learner_with("secretmanager", "iam", "iamcredentials", "cloudresourcemanager") as session:
        yield session


def base() -> str:
    return f"https://secretmanager.googleapis.com/v1/projects/{project()}/secrets"


@pytest.fixture
def secret(learner: AuthorizedSession) -> str:
    """Create a secret without versions, and return its URL."""
    name = f"s-{secrets.token_hex(4)}"
    ask(learner, "POST", f"{base()}?secretId={name}", {"replication": {"automatic": {}}})
    return f"{base()}/{name}"


def add(session: AuthorizedSession, secret: str, value: bytes, **more: Any) -> dict[str, Any]:
    return ask(session, "POST", f"{secret}:addVersion", {"payload": {"data": base64.b64encode(value).decode(), **more}})


def value(answer: dict[str, Any]) -> bytes:
    return base64.b64decode(answer["payload"]["data"])


@pytest.mark.gcloud
def test_gcloud_stores_and_reads_back(
    learner: AuthorizedSession, gcloud: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    def run(*words: str, stdin: str = "") -> str:
        done = subprocess.run(
            [gcloud, "secrets", *words, "--quiet"],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    name = f"s-{secrets.token_hex(4)}"
    assert f"Created version [1] of the secret [{name}]" in run("create", name, "--data-file=-", stdin="first")
    (tmp_path / "value").write_text("second\n")
    assert "[2]" in run("versions", "add", name, f"--data-file={tmp_path / 'value'}")
    assert run("versions", "access", "latest", f"--secret={name}") == "second\n"
    email = account(learner)
    member = f"--member=serviceAccount:{email}"
    assert email in run("add-iam-policy-binding", name, member, "--role=roles/secretmanager.secretAccessor")
    listed = ask(learner, "GET", f"{base()}/{name}/versions")["versions"]
    assert [one["state"] for one in listed] == ["ENABLED", "ENABLED"]


def test_access_requires_the_accessor_role(learner: AuthorizedSession, secret: str, world: World) -> None:
    add(learner, secret, b"value")
    email = account(learner, "roles/editor")
    resource = f"https://iam.googleapis.com/v1/projects/{project()}/serviceAccounts/{email}"
    grant(learner, resource, "roles/iam.serviceAccountTokenCreator", f"serviceAccount:{world.info.learner}")
    scope = {"scope": ["https://www.googleapis.com/auth/cloud-platform"]}
    token = ask(learner, "POST", TOKEN.format(email), scope)["accessToken"]
    headers = {"Authorization": f"Bearer {token}"}
    # An editor can see the secret, but not its value.
    assert requests.get(secret, headers=headers, timeout=30).status_code == 200
    refused = requests.get(f"{secret}/versions/latest:access", headers=headers, timeout=30)
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert error["message"] == "Permission 'secretmanager.versions.access' denied on resource (or it may not exist)."
    assert error["details"][0]["reason"] == "IAM_PERMISSION_DENIED"
    binding = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{email}"]}
    ask(learner, "POST", f"{secret}:setIamPolicy", {"policy": {"bindings": [binding]}})
    assert value(requests.get(f"{secret}/versions/latest:access", headers=headers, timeout=30).json()) == b"value"


def test_version_is_disabled_enabled_and_destroyed(learner: AuthorizedSession, secret: str) -> None:
    missing = ask(learner, "GET", f"{secret}/versions/latest:access", status=404)["error"]["message"]
    assert missing.endswith("not found or has no versions.")
    # For a version, a missing secret has the same message; for the secret itself, a shorter one.
    gone = f"{secret}-gone"
    missing = ask(learner, "GET", f"{gone}/versions/latest:access", status=404)["error"]["message"]
    assert missing.endswith("-gone] not found or has no versions.")
    assert ask(learner, "GET", gone, status=404)["error"]["message"].endswith("-gone] not found.")
    assert add(learner, secret, b"one")["name"].endswith("/versions/1")
    add(learner, secret, b"two")
    assert value(ask(learner, "GET", f"{secret}/versions/1:access")) == b"one"
    ask(learner, "POST", f"{secret}/versions/2:disable", {})
    refused = ask(learner, "GET", f"{secret}/versions/latest:access", status=400)["error"]["message"]
    assert refused.endswith("/versions/2] is in DISABLED state.")
    ask(learner, "POST", f"{secret}/versions/2:enable", {})
    assert value(ask(learner, "GET", f"{secret}/versions/latest:access")) == b"two"
    ask(learner, "POST", f"{secret}/versions/1:destroy", {})
    assert ask(learner, "GET", f"{secret}/versions/1")["state"] == "DESTROYED"
    ask(learner, "POST", f"{secret}/versions/1:enable", {}, status=400)
    ask(learner, "DELETE", secret)
    ask(learner, "GET", secret, status=404)
    ask(learner, "GET", f"{secret}/versions/2:access", status=404)


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("secretId=", {"replication": {"automatic": {}}}, 400),
        ("secretId=a.b", {"replication": {"automatic": {}}}, 400),
        ("secretId=fine", {}, 400),
        ("secretId=fine", {"replication": {"userManaged": {"replicas": []}}}, 501),
        ("secretId=fine", {"replication": {"automatic": {}}, "ttl": "60s"}, 501),
    ],
)
def test_invalid_secret_is_refused(learner: AuthorizedSession, query: str, body: Any, status: int) -> None:
    ask(learner, "POST", f"{base()}?{query}", body, status=status)


@pytest.mark.parametrize(
    "payload", [{}, {"data": ""}, {"data": "%"}, {"data": "QQ==", "dataCrc32c": "1"}, {"data": "QUFB" * 22_000}]
)
def test_invalid_value_is_refused(learner: AuthorizedSession, secret: str, payload: dict[str, str]) -> None:
    ask(learner, "POST", f"{secret}:addVersion", {"payload": payload}, status=400)
    assert ask(learner, "GET", f"{secret}/versions") == {"totalSize": 0}


def test_request_log_contains_no_value(learner: AuthorizedSession, secret: str, world: World) -> None:
    add(learner, secret, b"do not tell anybody")
    logged = world.admin("requests")
    assert [one for one in logged["requests"] if one["method"] == "secretmanager.projects.secrets.addVersion"]
    assert base64.b64encode(b"do not tell anybody").decode() not in json.dumps(logged)


def test_patch_requires_the_current_etag(learner: AuthorizedSession, secret: str) -> None:
    before = ask(learner, "GET", secret)
    body = {"labels": {"team": "ml"}, "annotations": {"a": "b"}, "etag": before["etag"]}
    after = ask(learner, "PATCH", f"{secret}?updateMask=labels", body)
    assert after == {**before, "labels": {"team": "ml"}, "etag": after["etag"]}
    assert after["etag"] != before["etag"]
    assert ask(learner, "GET", secret) == after
    ask(learner, "PATCH", f"{secret}?updateMask=labels", body, status=400)
    ask(learner, "PATCH", f"{secret}?updateMask=rotation", {"rotation": {}}, status=501)
    ask(learner, "PATCH", secret, {"labels": {}}, status=400)
    version = add(learner, secret, b"one")
    url = f"https://secretmanager.googleapis.com/v1/{version['name']}"
    off = ask(learner, "POST", f"{url}:disable", {"etag": version["etag"]})
    assert off["etag"] != version["etag"]
    ask(learner, "POST", f"{url}:enable", {"etag": version["etag"]}, status=400)
    assert ask(learner, "GET", f"{url}?$alt=json;enum-encoding=int")["state"] == 2
