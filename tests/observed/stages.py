"""The project in which facts are replayed: a sandbox of its own, called as its learner."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

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
                stage = Stage(session, world.info.project_id)
                url = f"https://serviceusage.googleapis.com/v1/projects/{stage.project}/services:batchEnable"
                stage.ask("POST", url, {"serviceIds": [f"{name}.googleapis.com" for name in _SERVICES]})
                yield stage
    finally:
        starter.stop(home)
