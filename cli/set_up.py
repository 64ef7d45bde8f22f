"""`make setup`: gcloud, the engine and the base image. `workbook start` restarts the engine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import closing

import docker

from cli.world.starter import World
from machine import base_image, distribution, engine, gcloud, platforms, reach
from machine.errors import EngineMissing, MachineError

Say = Callable[[str], None]


def all_parts(say: Say, complain: Say) -> None:
    """Set up everything. Raises MachineError when something isn't available."""
    platforms.wanted()
    distribution.ensure_curl(say)
    gcloud.ensure(say)
    ran_before = engine.find() is not None
    try:
        started = time.monotonic()
        try:
            found = engine.ensure(say)
        except EngineMissing as error:
            # On macOS no engine reaches the sandbox, but the rest is useful without one.
            if platform.system() != "Darwin":
                raise
            complain(f"{error} Reading and `make site` work without it.")
            return
        kind = "started for this workbook" if found.private else "already running"
        say(f"Docker Engine {found.version}, {kind} ({time.monotonic() - started:.1f} s)")
        elsewhere = reach.why_not(found.host)
        if elsewhere:
            # Not an error, because the rest works.
            complain(elsewhere)
        started = time.monotonic()
        with closing(engine.client(found)) as client:
            image = base_image.ensure(client, say)
            platforms.check(client, image, say, complain)
        say(f"Base image {image} ({time.monotonic() - started:.1f} s)")
    except BaseException:
        if not ran_before:
            # Also after Ctrl-C, because nothing else would stop the engine.
            engine.release("setup")
        raise


def bring_back_engine(say: Say, complain: Say) -> None:
    """Restart the private engine, if there was one and no other answers. Complain if it fails."""
    if not engine.was_made() or engine.find() is not None or os.environ.get("DOCKER_HOST"):
        return
    try:
        engine.ensure(say)
    except MachineError as error:
        complain(f"{error} Without an engine the registry works; builds and services do not.")


def environment(opened: World, image: Callable[[docker.DockerClient], str]) -> dict[str, str | None] | None:
    """Return the changes for a learner's environment, with the engine's variables, or None if no engine answers.

    Args:
        opened: the learner's world.
        image: returns the engine's base image.
    """
    found = engine.find()
    if found is None:
        return None
    with closing(engine.client(found)) as client:
        chosen = image(client)
    variables = engine.environment(found) | reach.environment(found.host)
    return opened.environment(variables, run=opened.lab_run, python_image=chosen)
