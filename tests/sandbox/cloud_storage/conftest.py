"""What tests of Cloud Storage share: the learner's session, in this process, and a new bucket."""

from __future__ import annotations

import secrets

import pytest

from tests.sandbox import in_process
from tests.sandbox.in_process import Session

URL = "https://storage.googleapis.com"


@pytest.fixture
def session(learner: in_process.Learner) -> Session:
    """The learner's session."""
    return learner.session


@pytest.fixture
def bucket(session: Session) -> str:
    """A new bucket."""
    name = f"bucket-{secrets.token_hex(6)}"
    answer = session.post(f"{URL}/storage/v1/b?project={in_process.PROJECT}", json={"name": name})
    assert answer.status_code == 200, answer.text
    return name
