"""The repository for tests of scans."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from helpers import names, projects, repositories, target
from helpers.names import Project
from tests.sandbox.artifact_analysis.scanned_images import SERVICES


@pytest.fixture
def repository(in_world: target.Target) -> Iterator[names.Repository]:
    """Create a repository in a project in which the four APIs of scans are enabled."""
    projects.enable(Project(in_world.project_id), *SERVICES)
    made = names.Repository(in_world.location, f"scan-{secrets.token_hex(3)}")
    repositories.create(made)
    yield made
    repositories.delete(made)
