"""`make setup`, and what `workbook start` does again of it: gcloud, the engine, the base image."""

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
    """Make sure that all is there. Raises MachineError where something can't be had."""
    platforms.wanted()
    distribution.ensure_curl(say)
    gcloud.ensure(say)
    ran_before = engine.find() is not None
    try:
        started = time.monotonic()
        try:
            found = engine.ensure(say)
        except EngineMissing as error:
            # On macOS no engine reaches the sandbox, and reading needs none: there the rest is worth having without it.
            if platform.system() != "Darwin":
                raise
            complain(f"{error} Reading and `make site` work without it.")
            return
        kind = "started for this workbook" if found.private else "already running"
        say(f"Docker Engine {found.version}, {kind} ({time.monotonic() - started:.1f} s)")
        elsewhere = reach.why_not(found.host)
        if elsewhere:
            # What works all the same is worth having, so this is no failure of the set-up.
            complain(elsewhere)
        started = time.monotonic()
        with closing(engine.client(found)) as client:
            image = base_image.ensure(client, say)
            platforms.check(client, image, say, complain)
        say(f"Base image {image} ({time.monotonic() - started:.1f} s)")
    except BaseException:
        if not ran_before:
            # Also after a Ctrl-C: an engine that nobody waited for is nobody's to stop.
            engine.release("setup")
        raise


def bring_back_engine(say: Say, complain: Say) -> None:
    """Start the private engine again, if there was one and no other answers. Without it the rest still works."""
    if not engine.was_made() or engine.find() is not None or os.environ.get("DOCKER_HOST"):
        return
    try:
        engine.ensure(say)
    except MachineError as error:
        complain(f"{error} Without an engine the registry works; builds and services do not.")


def environment(opened: World, image: Callable[[docker.DockerClient], str]) -> dict[str, str | None] | None:
    """Return what turns an environment into a learner's: the world's variables, and those of the engine.

    Args:
        opened: the learner's world.
        image: says which base image the engine has.

    Returns:
        None where no engine answers.
    """
    found = engine.find()
    if found is None:
        return None
    with closing(engine.client(found)) as client:
        chosen = image(client)
    variables = engine.environment(found) | reach.environment(found.host)
    return opened.environment(variables, run=opened.lab_run, python_image=chosen)
