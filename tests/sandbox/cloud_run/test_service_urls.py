"""Under which address a deployed service is told: the plain port's, or Google's own where all clients use the edge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.cloud_run import store
from sandbox.state.clock import Clock
from sandbox.state.world import World

NAME = "ml-predictor-123456789012.us-central1.run.app"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "state", Clock())
    yield world
    world.close()


@pytest.mark.parametrize(
    ("about", "url"),
    [
        ({}, f"http://localhost:5001/{NAME}"),
        ({"google_urls": False}, f"http://localhost:5001/{NAME}"),
        ({"google_urls": True}, f"https://{NAME}"),
    ],
)
def test_a_service_s_address(state: World, tmp_path: Path, about: dict[str, Any], url: str) -> None:
    (tmp_path / "sandbox.json").write_text(json.dumps({"port": 5001, "edge_port": 5002, **about}))
    assert store.url(state, "ml-predictor", "123456789012", "us-central1") == url
