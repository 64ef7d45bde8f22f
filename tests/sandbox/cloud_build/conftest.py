"""Fixtures that the tests of builds share: the learner, and the account that a build runs as."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.auth.transport.requests import AuthorizedSession

from tests.sandbox.conftest import account, learner_with


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """The learner's session, with every API that builds need."""
    with learner_with("cloudbuild", "artifactregistry", "iam") as session:
        yield session


@pytest.fixture
def builder(learner: AuthorizedSession) -> str:
    """An account that may build and push."""
    return account(learner, "roles/cloudbuild.builds.builder")
