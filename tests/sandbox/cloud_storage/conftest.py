"""Fixtures for tests of Cloud Storage: the learner's session, in this process, and a new bucket."""

from __future__ import annotations

import secrets

import pytest

from tests.sandbox import in_process
from tests.sandbox.in_process import Session

URL = "https://storage.googleapis.com"


@pytest.fixture
def session(learner: in_process.Learner) -> Session:
    return learner.session


@pytest.fixture
def bucket(session: Session) -> str:
    """Create a bucket, and return its name."""
    name = f"bucket-{secrets.token_hex(6)}"
    answer = session.post(f"{URL}/storage/v1/b?project={in_process.PROJECT}", json={"name": name})
    assert answer.status_code == 200, answer.text
    return name
