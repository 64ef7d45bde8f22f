"""Run one step of a build in a container, with limits on time and disk.

Source: facts/artifact-registry.md section 5. # unverified: the log's lines after a failure
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from sandbox import containers
from sandbox.cloud_build import builders, validation
from sandbox.cloud_build.running import KILLED, BuildFailed, Running, exit_code
from sandbox.containers import EngineFailed

DISK_BYTES = 4 * 1024**3  # a step's container and its workspace together; Google's machines have 100 GB
_LOOK_SECONDS = 2.0


def run(running: Running, number: int, deadline: float) -> None:
    """Run a step to its end.

    Args:
        number: the step's index in the build.
        deadline: the build's deadline by `time.monotonic`.

    Raises:
        BuildFailed: if the step ends the build.
    """
    step = running.build["steps"][number]
    alone = len(running.build["steps"]) == 1
    title = f"Step #{number}" + (f' - "{step["id"]}"' if step.get("id") else "")
    log: Callable[[str], None] = running.log.line if alone else lambda text: running.log.line(f"{title}: {text}")
    if not alone:
        running.log.line(f"Starting {title}")
    running.mark(step, "WORKING")
    start = running.now()
    try:
        builder = builders.resolve(step["name"], running.place.address, running.config)
    except EngineFailed as error:
        running.mark(step, "FAILURE")
        detail = f'build step {number} "{step["name"]}" failed: error pulling build step: {error}'
        raise BuildFailed("FAILURE", "USER_BUILD_STEP", detail) from None
    step["pullTiming"] = {"startTime": start, "endTime": running.now()}
    running.builders[number] = containers.image_digest(builder.image)
    for text in builder.log_lines:
        log(text)
    own = validation.seconds(step.get("timeout"))
    until = min(deadline, time.monotonic() + own) if own else deadline
    code, late = _container(running, number, builder, step, log, until)
    step["timing"] = {"startTime": start, "endTime": running.now()}
    _evaluate(running, step, number, code, late=late)
    if not alone:
        running.log.line(f"Finished {title}")
    running.log.flush()


def _container(
    running: Running,
    number: int,
    builder: builders.Builder,
    step: Mapping[str, Any],
    log: Callable[[str], None],
    until: float,
) -> tuple[int, bool]:
    """Run the step's container. Return its exit code, and whether it was killed at its deadline."""
    if running.stopping.is_set():
        return KILLED, False
    arguments = builders.arguments(running.place, number, step, running.build["options"], builder)
    process = containers.start(arguments, running.config)
    name = running.place.container(number)
    late, over = threading.Event(), threading.Event()
    threading.Thread(target=_watch_disk, args=(name, over, log), daemon=True).start()
    threading.Thread(target=_watch_time, args=(name, running.stopping, over, late, until), daemon=True).start()
    try:
        assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
        with process.stdout:
            for line in process.stdout:
                log(line.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2])
        return exit_code(process), late.is_set()
    finally:
        over.set()


def _watch_time(
    name: str, stopping: threading.Event, over: threading.Event, late: threading.Event, until: float
) -> None:
    """Kill a step at its deadline or when the build stops. Repeat it, since the container may only be starting."""
    while not over.is_set():
        if stopping.wait(min(max(until - time.monotonic(), 0.05), 0.25)) or time.monotonic() >= until:
            if not stopping.is_set():
                late.set()
            _kill(name)
            over.wait(0.05)


def _watch_disk(name: str, over: threading.Event, log: Callable[[str], None]) -> None:
    """Kill a step whose container and workspace grow too large. The engine has no such limit."""
    while not over.wait(_LOOK_SECONDS):
        with contextlib.suppress(EngineFailed, ValueError, IndexError):
            used = 1024 * int(containers.call("exec", name, "du", "-sk", "/workspace").split()[0])
            used += containers.written(name)
            if used > DISK_BYTES:
                log(f"The step is ended: it has written {used} bytes, and the sandbox has room for {DISK_BYTES}.")
                _kill(name)
                return


def _kill(name: str) -> None:
    with contextlib.suppress(EngineFailed):
        containers.call("kill", name)


def _evaluate(running: Running, step: dict[str, Any], number: int, code: int, *, late: bool) -> None:
    where = f'build step {number} "{step["name"]}" failed'
    if running.cancelled.is_set():
        running.mark(step, "CANCELLED")
        raise BuildFailed("CANCELLED", "", "context canceled")
    if running.stopping.is_set():
        running.mark(step, "CANCELLED")
        raise BuildFailed("FAILURE", "USER_BUILD_STEP", f"{where}: another step failed")
    if late:
        running.mark(step, "TIMEOUT")
        raise BuildFailed("TIMEOUT", "", f"{where}: context deadline exceeded")
    if code != 0:
        step["exitCode"] = code
    if code == 0 or code in step.get("allowExitCodes", ()):
        running.mark(step, "SUCCESS")
        return
    running.mark(step, "FAILURE")
    if not step.get("allowFailure"):
        raise BuildFailed("FAILURE", "USER_BUILD_STEP", f"{where}: step exited with non-zero status: {code}")
