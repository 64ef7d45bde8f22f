"""A repository of any package format: what the tests of all formats share."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, ClassVar

from google.auth.transport.requests import AuthorizedSession

from tests.sandbox.conftest import ask, project

API = "https://artifactregistry.googleapis.com/v1"


@dataclass(frozen=True)
class Held:
    """A repository and the learner's session; each format's own class adds its requests."""

    host: ClassVar[str]
    id: str
    session: AuthorizedSession

    @property
    def name(self) -> str:
        return f"projects/{project()}/locations/us-central1/repositories/{self.id}"

    @property
    def url(self) -> str:
        return f"https://{self.host}/{project()}/{self.id}"


def create(session: AuthorizedSession, kind: str = "PYTHON", **body: Any) -> str:
    """The id of a new repository."""
    name = f"packages-{secrets.token_hex(4)}"
    parent = f"{API}/projects/{project()}/locations/us-central1/repositories"
    ask(session, "POST", f"{parent}?repositoryId={name}", {"format": kind, **body})
    return name
