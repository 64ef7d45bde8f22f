"""Sign in at the registry with every kind of credential, valid and invalid, by HTTP, curl and docker login.

https://cloud.google.com/artifact-registry/docs/docker/authentication
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from cli.world.starter import World
from helpers import access, checks, names, projects, registry, repositories
from helpers.target import Target
from sandbox.iam.tokens import TOKEN_USERNAMES

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
Key = dict[str, Any]


def foreign(key: Key) -> Key:
    """Return the key file with a private key that does not belong to it."""
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {**key, "private_key": pem.decode()}


def encoded(key: Key) -> str:
    return base64.b64encode(json.dumps(key).encode()).decode()


def token_of(key: Key) -> str:
    credentials = service_account.Credentials.from_service_account_info(key, scopes=SCOPES)
    credentials.refresh(Request())
    return str(credentials.token)


def self_signed(key: Key, audience: str, lifetime: int = 3600, ago: int = 0) -> str:
    now = int(time.time()) - ago
    claims = {
        "iss": key["client_email"],
        "sub": key["client_email"],
        "aud": audience,
        "iat": now,
        "exp": now + lifetime,
    }
    return jwt.encode(claims, key["private_key"], algorithm="RS256", headers={"kid": key["private_key_id"]})


# By name: the user and the password, made from a key file
GOOD: dict[str, Callable[[Key], tuple[str, str]]] = {
    **{user: lambda key, user=user: (user, token_of(key)) for user in TOKEN_USERNAMES},
    "_json_key": lambda key: ("_json_key", json.dumps(key)),
    "_json_key, indented": lambda key: ("_json_key", json.dumps(key, indent=2)),
    "_json_key_base64": lambda key: ("_json_key_base64", encoded(key)),
}
BAD: dict[str, Callable[[Key], tuple[str, str]]] = {
    **{f"{user}, garbage": lambda _, user=user: (user, "ya29.garbage") for user in TOKEN_USERNAMES},
    "a good token under another name": lambda key: ("learner", token_of(key)),
    "a JWT for another service": lambda key: ("oauth2accesstoken", self_signed(key, "https://pubsub.googleapis.com/")),
    "a JWT without a signature": lambda key: (
        "oauth2accesstoken",
        jwt.encode({"iss": key["client_email"]}, "", algorithm="none", headers={"kid": key["private_key_id"]}),
    ),
    "_json_key, no JSON": lambda _: ("_json_key", "{"),
    "_json_key, another private key": lambda key: ("_json_key", json.dumps(foreign(key))),
    "_json_key, an unknown key id": lambda key: ("_json_key", json.dumps({**key, "private_key_id": "0" * 40})),
    "_json_key, another account": lambda key: (
        "_json_key",
        json.dumps({**key, "client_email": key["client_email"].replace("learner", "other")}),
    ),
    "_json_key, encoded": lambda key: ("_json_key", encoded(key)),
    "_json_key_base64, plain": lambda key: ("_json_key_base64", json.dumps(key)),
    "_json_key_base64, garbage": lambda _: ("_json_key_base64", "!!!!"),
}


@pytest.fixture
def key(in_world: Target) -> Key:
    found: Key = json.loads(Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    return found


@pytest.fixture
def image(in_world: Target) -> Iterator[names.Image]:
    projects.enable(names.Project(in_world.project_id), projects.ARTIFACT_REGISTRY)
    repository = names.Repository(in_world.location, f"r-{secrets.token_hex(4)}")
    repositories.create(repository, labels=in_world.labels)
    made = repository.image("hello")
    registry.push(made.tag("1"), [{"hello.txt": "hello"}])
    yield made
    repositories.delete(repository)


def manifest_url(world: World, image: names.Image) -> str:
    return f"{world.url}/v2/{image}/manifests/1"


def ask(url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=30, **options)


def pull(world: World, image: names.Image, pair: tuple[str, str]) -> tuple[int, int]:
    """Return the status codes of a pull with Basic credentials, and of one with a registry token."""
    direct = ask(manifest_url(world, image), auth=pair).status_code
    params = {"service": "localhost", "scope": f"repository:{image}:pull"}
    answer = ask(f"{world.url}/v2/token", auth=pair, params=params)
    if answer.status_code != 200:
        return direct, answer.status_code
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    return direct, ask(manifest_url(world, image), headers=headers).status_code


@pytest.mark.parametrize("kind", GOOD)
def test_valid_credential_pulls(world: World, image: names.Image, key: Key, kind: str) -> None:
    assert pull(world, image, GOOD[kind](key)) == (200, 200)


@pytest.mark.parametrize("kind", BAD)
def test_invalid_credential_is_refused(world: World, image: names.Image, key: Key, kind: str) -> None:
    assert pull(world, image, BAD[kind](key)) == (401, 401)


def test_curl_pulls_with_the_documented_headers(world: World, image: names.Image, key: Key, tmp_path: Path) -> None:
    """Google's documentation puts the token on the command line, where every user of the machine can read it.

    Here curl reads the header from a file.
    """

    def status(header: str) -> str:
        config = tmp_path / "header"
        config.write_text(f"{header}\n")
        config.chmod(0o600)
        url = manifest_url(world, image)
        command = ["curl", "-s", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"@{config}", url]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    token = token_of(key)
    basic = base64.b64encode(f"_json_key_base64:{encoded(key)}".encode()).decode()
    assert status(f"Authorization: Bearer {token}") == "200"
    assert status(f"Authorization: Basic {basic}") == "200"
    assert status("Authorization: Bearer ya29.garbage") == "401"
    assert status(f"Authorization: Token {token}") == "401"
    assert status("Accept: */*") == "401"


def test_access_token_and_self_signed_jwt_are_accepted_directly(world: World, image: names.Image, key: Key) -> None:
    host = image.repository.location.host
    # The registry's host is the first part of the path: the audience of a self-signed JWT has to name it.
    url = f"{world.url}/{host}/v2/{str(image).partition('/')[2]}/manifests/1"

    def status(token: str) -> int:
        return ask(url, headers={"Authorization": f"Bearer {token}"}).status_code

    assert status(token_of(key)) == 200
    assert status(self_signed(key, f"https://{host}/")) == 200
    for bad in (
        self_signed(key, "https://artifactregistry.googleapis.com/"),
        self_signed(key, ""),
        self_signed(key, f"https://{host}/", ago=7200),
        self_signed(key, f"https://{host}/", lifetime=7200),
        self_signed(foreign(key), f"https://{host}/"),
        self_signed(key, f"https://{host}/")[:-4] + "AAAA",
    ):
        assert status(bad) == 401


@pytest.fixture
def short_lived(in_world: Target, key: Key) -> Iterator[str]:
    """Return an access token with a lifetime of three seconds, of an account that may pull in the whole project.

    `tokens:expire` would revoke the tokens of the other tests in this world, too.
    """
    project = names.Project(in_world.project_id)
    projects.enable(project, "iam.googleapis.com", "iamcredentials.googleapis.com")
    account = access.account(project, "short", secrets.token_hex(4))
    access.create_account(account, in_world.run)
    access.grant(account, access.TOKEN_CREATOR, f"serviceAccount:{key['client_email']}")
    access.grant(project, access.READER, account.member)
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token_of(key)}"
        url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        made = session.post(url, json={"scope": SCOPES, "lifetime": "3s"}, timeout=30).json()
    yield made["accessToken"]
    access.revoke_all(project, account.member)
    access.delete_account(account)


def test_expired_token_is_refused_everywhere(world: World, image: names.Image, short_lived: str) -> None:
    assert pull(world, image, ("oauth2accesstoken", short_lived)) == (200, 200)
    headers = {"Authorization": f"Bearer {short_lived}"}
    url = manifest_url(world, image)
    checks.eventually(lambda: ask(url, headers=headers).status_code == 401, seconds=15)
    for user in TOKEN_USERNAMES:
        assert pull(world, image, (user, short_lived)) == (401, 401)
    answer = ask(url, headers=headers)
    assert "No valid credential was supplied." in answer.text
    assert short_lived not in answer.text


def test_deleted_key_is_refused(world: World, image: names.Image, in_world: Target) -> None:
    project = image.repository.project
    projects.enable(project, "iam.googleapis.com")
    account = access.account(project, "keyed", secrets.token_hex(4))
    access.create_account(account, in_world.run)
    access.grant(image.repository, access.READER, account.member)
    with requests.Session() as session:
        owner = json.loads(Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
        session.headers["Authorization"] = f"Bearer {token_of(owner)}"
        base = "https://iam.googleapis.com/v1"
        made = session.post(f"{base}/{account.resource}/keys", json={}, timeout=30).json()
        theirs = json.loads(base64.b64decode(made["privateKeyData"]))
        assert pull(world, image, ("_json_key", json.dumps(theirs))) == (200, 200)
        assert session.delete(f"{base}/{made['name']}", timeout=30).status_code == 200
    assert pull(world, image, ("_json_key", json.dumps(theirs))) == (401, 401)
    access.delete_account(account)


@pytest.fixture
def login(environment: dict[str, str], tmp_path: Path, engine: object) -> Callable[[str, str], Any]:
    """Return a function that runs `docker login` with a new configuration folder."""

    def call(user: str, password: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "--config", str(tmp_path / secrets.token_hex(4)), "login", "-u", user, "--password-stdin"]
        return subprocess.run(
            [*command, environment["REGISTRY_HOST"]],
            input=password,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


@pytest.mark.docker
@pytest.mark.parametrize("kind", GOOD)
def test_docker_login_accepts_a_valid_credential(login: Callable[[str, str], Any], key: Key, kind: str) -> None:
    user, password = GOOD[kind](key)
    done = login(user, password)
    assert done.returncode == 0, done.stderr
    assert "Login Succeeded" in done.stdout
    assert password not in done.stdout + done.stderr


@pytest.mark.docker
@pytest.mark.parametrize("kind", BAD)
def test_docker_login_refuses_an_invalid_credential(login: Callable[[str, str], Any], key: Key, kind: str) -> None:
    user, password = BAD[kind](key)
    done = login(user, password)
    assert done.returncode != 0
    assert "unauthorized: not authenticated: No valid credential was supplied." in done.stderr
    assert len(password) < 8 or password not in done.stdout + done.stderr


@pytest.mark.docker
def test_docker_login_refuses_an_expired_token(
    login: Callable[[str, str], Any], world: World, image: names.Image, short_lived: str
) -> None:
    assert login("oauth2accesstoken", short_lived).returncode == 0
    headers = {"Authorization": f"Bearer {short_lived}"}
    checks.eventually(lambda: ask(manifest_url(world, image), headers=headers).status_code == 401, seconds=15)
    done = login("oauth2accesstoken", short_lived)
    assert done.returncode != 0
    assert "No valid credential" in done.stderr
