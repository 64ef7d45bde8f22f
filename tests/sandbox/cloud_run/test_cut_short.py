"""Deployments that a stop or a crash cut short: taken up again at the next start, or failed with a reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import seed
from sandbox.cloud_run import deployment, instances, store
from sandbox.state.clock import Clock
from sandbox.state.world import World

NAME = "projects/ml-workbook-cut/locations/us-central1/services/app"
IMAGE = "us-central1-docker.pkg.dev/ml-workbook-cut/r/app:1"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World(tmp_path / "state", Clock())
    seed.prepare(opened, tmp_path, "ml-workbook-cut", "us-central1")
    yield opened
    opened.close()


def add(world: World) -> None:
    """A service as it stands right after it was asked for."""
    service: dict[str, Any] = {
        "metadata": {
            "name": "app",
            "namespace": "1",
            "uid": "u",
            "generation": 1,
            "annotations": {"serving.knative.dev/lastModifier": "x@y"},
        },
        "spec": {"template": {"spec": {"containers": [{"image": IMAGE}]}}},
        "status": {
            "url": f"http://localhost/{NAME}",
            "conditions": [deployment.condition(world, "Ready", "Unknown")],
        },
    }
    with world.writing() as rows:
        store.add(rows, NAME, service)


def ready(world: World) -> dict[str, str]:
    found = store.find(world, NAME)
    assert found is not None
    [state] = [entry for entry in found["status"]["conditions"] if entry["type"] == "Ready"]
    return dict(state)


def settled(world: World) -> dict[str, str]:
    deadline = time.monotonic() + 30
    pause = threading.Event()
    while (state := ready(world))["status"] == "Unknown":
        assert time.monotonic() < deadline
        pause.wait(0.02)
    return state


class Cut(BaseException):
    """The process is gone."""


def cut_short(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment whose revision was written down, and no more."""

    def gone(*_: object) -> str:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(deployment, "resolve_image", gone)
        service = store.find(world, NAME)
        assert service is not None
        with pytest.raises(Cut):
            deployment._deploy(world, NAME, service)
    assert ready(world)["status"] == "Unknown"


@pytest.mark.parametrize("when", ["before the revision", "after the revision"])
def test_a_start_takes_it_up_again(world: World, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    add(world)
    if when == "after the revision":
        cut_short(world, monkeypatch)
    monkeypatch.setattr(deployment, "resolve_image", lambda *_: IMAGE)
    started: list[str] = []
    monkeypatch.setattr(instances.Instances, "ensure", lambda _, name, __: started.append(name))
    deployment.recover(world)
    assert settled(world)["status"] == "True"
    [revision] = store.revisions(world, NAME)
    assert started == [store.revision_name(NAME, revision["metadata"]["name"])]
    assert not store.is_unfinished(revision)
    assert store.unfinished(world) == []


def test_it_fails_with_a_reason_where_it_cannot_go_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add(world)
    cut_short(world, monkeypatch)
    deployment.recover(world)
    state = settled(world)
    assert state["status"] == "False"
    assert "must have permission to read the image" in state["message"]


def test_asked_for_again_it_is_not_said_to_be_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add(world)
    cut_short(world, monkeypatch)
    deployment.begin(world, NAME)
    assert settled(world)["status"] == "False"
    # And a revision that failed is no ready one when it is asked for a second time.
    store.change(
        world, NAME, lambda now: now["status"].update(conditions=[deployment.condition(world, "Ready", "Unknown")])
    )
    deployment.begin(world, NAME)
    assert settled(world)["status"] == "False"
    assert len(store.revisions(world, NAME)) == 1
