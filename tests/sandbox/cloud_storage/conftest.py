"""What tests of Cloud Storage share: the learner's session and a new bucket."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest
from google.auth.transport.requests import AuthorizedSession

from tests.sandbox.conftest import learner_with

URL = "https://storage.googleapis.com"


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """The learner's session."""
    with learner_with("storage") as session:
        yield session


@pytest.fixture
def bucket(learner: AuthorizedSession) -> str:
    """A new bucket."""
    name = f"bucket-{secrets.token_hex(6)}"
    answer = learner.post(f"{URL}/storage/v1/b?project={os.environ['PROJECT_ID']}", json={"name": name})
    assert answer.status_code == 200, answer.text
    return name
