"""Inputs that nobody sends by accident: refused, and neither an error of the sandbox nor a long wait."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.transport.requests import AuthorizedSession
from google.cloud.artifactregistry_v1 import types

from cli.world.starter import World
from helpers.target import Target
from sandbox import seed
from sandbox.api import lists, messages
from sandbox.artifact_analysis import image_parts, occurrence_filter
from sandbox.cloud_logging import api as logging_api
from sandbox.errors import ApiError
from sandbox.scanner import version_order
from tests.sandbox.conftest import ask, learner_with

DIGITS = "9" * 5000


def _token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "text",
    ['["x",1e999]', "[" * 20_000, f'["x",1{"0" * 30}]', '["\\ud800",1]', '["x",-1]', '["x",true]', "7", "[]"],
    ids=["infinite", "deep", "huge", "surrogate", "negative", "boolean", "no list", "empty"],
)
def test_a_forged_page_token_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        lists.page(["a"], {"pageToken": _token(text)}, str)
    assert refused.value.http_status == 400


@pytest.mark.parametrize(("times", "holds"), [(1000, True), (1001, False)])
def test_a_thousand_negations_are_one_or_none(times: int, holds: bool) -> None:
    assert occurrence_filter.matcher("NOT " * times + 'kind="BUILD"')({"kind": "BUILD"}) is holds


def _public_pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


@pytest.mark.parametrize(
    "key",
    [
        lambda: json.dumps({"client_email": "a@b", "private_key_id": "1", "private_key": _public_pem()}),
        lambda: json.dumps({"client_email": "a@b", "private_key_id": "1", "private_key": 5}),
        lambda: "[" * 3000,
        lambda: "5",
    ],
    ids=["public key", "number", "brackets", "no object"],
)
def test_a_key_file_that_is_none_is_an_invalid_credential(world: World, key: Callable[[], str]) -> None:
    answer = requests.get(f"{world.url}/v2/", auth=("_json_key", key()), timeout=30)
    assert answer.status_code == 401


def test_a_head_of_a_jwt_nested_without_end_is_an_invalid_credential(world: World) -> None:
    head = base64.urlsafe_b64encode(b"[" * 20_000).decode().rstrip("=")
    url = f"{world.url}/cloudresourcemanager.googleapis.com/v1/projects"
    answer = requests.get(url, headers={"Authorization": f"Bearer {head}.e30.AA"}, timeout=30)
    assert answer.status_code == 401


def test_the_admin_surface_refuses_what_it_cannot_read(world: World) -> None:
    base = f"{world.url}/_sandbox"
    assert requests.get(f"{base}/status", headers={"Authorization": "Bearer é".encode()}, timeout=30).status_code == 401
    admin = {"Authorization": f"Bearer {(world.home / 'admin-token').read_text().strip()}"}
    for since in ("²", DIGITS):
        answer = requests.get(f"{base}/requests", params={"since": since}, headers=admin, timeout=30)
        assert answer.status_code == 400, answer.text
    for path in ("quotas", "policies", "pace", "faults", "clock:advance"):
        for body in ("[" * 3000, '{"seconds": 1e400, "limit": 1e400}', "5", '{"project": {}, "rules": 5}'):
            answer = requests.post(f"{base}/{path}", data=body, headers=admin, timeout=30)
            assert answer.status_code == 400, f"{path} {body[:40]}: {answer.text}"
    body = json.dumps(
        {"project": world.info.learner.partition("@")[2].partition(".")[0], "metric": "x", "limit": 0}
    ).replace("0}", "1e400}")
    assert requests.post(f"{base}/quotas", data=body, headers=admin, timeout=30).status_code == 400


def test_a_number_of_5000_digits_is_no_enum() -> None:
    for value in (DIGITS, "²"):
        with pytest.raises(ApiError) as refused:
            messages.parse(types.Repository.pb(), {"format": value})
        assert refused.value.http_status == 400


@pytest.mark.parametrize("ecosystem", ["PyPI", "Debian:12", "npm"])
def test_a_version_of_5000_digits_is_no_version(ecosystem: str) -> None:
    with pytest.raises(version_order.NoOrder):
        version_order.key(ecosystem, DIGITS)


@pytest.mark.parametrize(
    "config",
    [{"history": 5}, {"rootfs": {"diff_ids": 5}}, {"rootfs": 5, "history": {"a": 1}}],
    ids=["history", "diff_ids", "both"],
)
def test_a_config_that_is_no_config_gives_no_facts(config: dict[str, object]) -> None:
    assert image_parts._facts(config, 1) == ()


def test_a_logging_filter_is_read_once() -> None:
    text = " AND ".join(['a.b="c"'] * 1500)
    assert logging_api._predicate(text)({"a": {"b": "c"}})
    assert not logging_api._predicate(text + ' AND a.b="d"')({"a": {"b": "c"}})
    with pytest.raises(ApiError) as refused:
        logging_api._predicate(text * 10)
    assert refused.value.http_status == 400


def test_a_head_of_a_request_has_an_end(world: World) -> None:
    port = int(world.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 30) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        answer = b""
        try:
            for _ in range(32):
                line.sendall(b"a" * (1 << 14))
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has answered and closed.
        try:
            while piece := line.recv(1 << 16):
                answer += piece
        except ConnectionResetError:
            pass
    assert answer.startswith(b"HTTP/1.1 431 ") or not answer
    assert b" 200 " not in answer


def test_a_stranger_body_is_refused_before_it_is_whole(world: World) -> None:
    """Only its first part is sent: who waits for the rest would never answer."""
    port = int(world.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 30) as line:
        line.sendall(
            b"POST /storage.googleapis.com/upload/storage/v1/b/any/o?uploadType=media&name=x HTTP/1.1\r\n"
            b"Host: localhost\r\nContent-Length: 200000000\r\n\r\n"
        )
        line.sendall(b"a" * (100 << 10))
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 401 ")


WRONG = [
    ("iam", "roles", {"roleId": "one", "role": {"includedPermissions": [{}]}}, "role.includedPermissions[0]"),
    ("secretmanager", "secrets/kept:addVersion", {"payload": {"data": 5}}, "payload.data"),
    ("logging", "", {"resourceNames": ["projects/x", 5]}, "resourceNames[1]"),
    ("storage", "", {"name": "some-bucket", "labels": {"a": 5}}, "labels[...]"),
    ("run", "", {"spec": {"template": {"spec": {"containers": [{"image": "x", "env": 5}]}}}}, "containers[0].env"),
    ("billingbudgets", "", {"amount": {"specifiedAmount": 5}}, "amount.specifiedAmount"),
]


@pytest.mark.parametrize(("service", "end", "body", "field"), WRONG, ids=[row[0] for row in WRONG])
def test_a_field_of_the_wrong_type_is_named(
    world: World, in_world: Target, session: AuthorizedSession, service: str, end: str, body: dict[str, Any], field: str
) -> None:
    """A null stands for a field that is not given, as real clients send it."""
    project = world.info.project_id
    with learner_with("iam", "secretmanager", "run", "logging", "billingbudgets"):
        pass
    if service == "secretmanager":
        ask(session, "POST", f"{_url(service, project, 'secrets')}?secretId=kept", {"replication": {"automatic": {}}})
    refused = ask(session, "POST", _url(service, project, end), body, 400)["error"]
    assert field in refused["message"], refused


def _url(service: str, project: str, end: str) -> str:
    return {
        "logging": "https://logging.googleapis.com/v2/entries:list",
        "storage": f"https://storage.googleapis.com/storage/v1/b?project={project}",
        "run": f"https://us-central1-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{project}/services",
        "billingbudgets": f"https://billingbudgets.googleapis.com/v1/{seed.BILLING_ACCOUNT}/budgets",
    }.get(service, f"https://{service}.googleapis.com/v1/projects/{project}/{end}")


@pytest.mark.parametrize("place", ["labels", "annotations"])
def test_null_is_a_field_that_is_not_given(world: World, session: AuthorizedSession, place: str) -> None:
    """Real clients send it for maps and lists that they leave empty."""
    body = {
        "metadata": {"name": f"null-{place}", place: None},
        "spec": {"template": {"spec": {"containers": [{"image": "x", "env": None, "ports": None}]}}, "traffic": None},
    }
    with learner_with("run"):
        made = ask(session, "POST", _url("run", world.info.project_id, ""), body)
    assert made["metadata"]["name"] == f"null-{place}"
