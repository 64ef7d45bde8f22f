"""The project in which facts are replayed: a sandbox of its own, called as its learner."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Iterator
from pathlib import Path

import docker
import requests
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import service_account

from cli.world import starter
from tests.observed.replay import Stage

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
_SERVICES = ("artifactregistry", "iam", "run", "cloudbuild", "containeranalysis", "secretmanager", "storage")


@contextlib.contextmanager
def opened(home: Path) -> Iterator[Stage]:
    """A sandbox in `home`, with the APIs that the facts are about enabled; stopped at the end."""
    world = starter.start(home, project=f"ml-workbook-{secrets.token_hex(3)}", port=0)
    environment = world.environment({}, run="observed")
    try:
        with requests.Session() as plain:
            plain.trust_env = False
            plain.proxies = {"https": str(environment["HTTPS_PROXY"])}
            plain.verify = str(environment["REQUESTS_CA_BUNDLE"])
            key = str(environment["GOOGLE_APPLICATION_CREDENTIALS"])
            credentials = service_account.Credentials.from_service_account_file(key, scopes=_SCOPES)
            with AuthorizedSession(credentials, auth_request=Request(plain)) as session:
                session.trust_env, session.proxies, session.verify = False, plain.proxies, plain.verify
                stage = Stage(session, world.info.project_id, world.info.port)
                url = f"https://serviceusage.googleapis.com/v1/projects/{stage.project}/services:batchEnable"
                stage.ask("POST", url, {"serviceIds": [f"{name}.googleapis.com" for name in _SERVICES]})
                yield stage
    finally:
        starter.stop(home)


def serve(stage: Stage, engine: docker.DockerClient, python_image: str) -> None:
    """Give the stage an image that Cloud Run can start: a server of nothing but an empty folder."""
    location = "us-central1"
    url = f"https://artifactregistry.googleapis.com/v1/projects/{stage.project}/locations/{location}/repositories"
    stage.ask("POST", f"{url}?repositoryId=served", {"format": "DOCKER"})
    name = f"{location}-docker.pkg.dev/{stage.project}/served/server:v1"
    dockerfile = f"FROM {python_image}\nWORKDIR /empty\nCMD exec python3 -m http.server $PORT\n"
    local = f"localhost:{stage.port}/{name}"
    engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=local)
    stage.ask("GET", url)
    sign_in = {"username": "oauth2accesstoken", "password": stage.session.credentials.token}
    for event in engine.api.push(local, stream=True, decode=True, auth_config=sign_in):
        if "error" in event:
            raise RuntimeError(event["error"])
    stage.image = name
