"""Temporary sandboxes for tests, and the environment of a learner's shell in one."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from cli.world import starter
from cli.world.starter import World
from helpers import target
from machine import base_image, stand_in
from machine import engine as machine_engine


@contextlib.contextmanager
def opened(home: Path) -> Iterator[World]:
    """Run a sandbox with a new project in a folder, yield it, and stop it."""
    world = starter.start(home, project=f"ml-workbook-{secrets.token_hex(3)}", port=0)
    try:
        yield world
    finally:
        starter.stop(home)


def environment(world: World, run_id: str) -> dict[str, str]:
    """Return the environment of a learner's shell in a world."""
    found = machine_engine.find()
    engine_variables: dict[str, str] = {}
    image = ""
    if found is not None:
        engine_variables = machine_engine.environment(found)
        with contextlib.closing(machine_engine.client(found)) as client:
            image = stand_in.find(client) or base_image.PUBLIC
    return target.apply(world.environment(engine_variables, run=run_id, python_image=image), os.environ)
