"""Health checks: run a command in the container at intervals, as set by the image or `docker run`."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from engine.errors import Refused
from engine.runs import Log, Run, now
from engine.store import remove_tree

if TYPE_CHECKING:
    from engine.container import Container
    from engine.machine import Machine

_SECOND = 1_000_000_000


def watch(machine: Machine, one: Container, run: Run) -> None:
    """Start the health checks of a container that was just started, if it has any."""
    check = one.config.get("Healthcheck") or {}
    test = check.get("Test") or []
    if not test or test[0] == "NONE":
        one.health = None
        return
    one.health = {"Status": "starting", "FailingStreak": 0, "Log": []}
    command = [*(one.config.get("Shell") or ["/bin/sh", "-c"]), test[1]] if test[0] == "CMD-SHELL" else test[1:]
    threading.Thread(target=_watch, args=(machine, one, run, check, command), daemon=True).start()


def _watch(machine: Machine, one: Container, run: Run, check: dict[str, Any], command: list[str]) -> None:
    interval = (check.get("Interval") or 30 * _SECOND) / _SECOND
    timeout = (check.get("Timeout") or 30 * _SECOND) / _SECOND
    begun, grace = time.monotonic(), (check.get("StartPeriod") or 0) / _SECOND
    retries = check.get("Retries") or 3
    while not run.over.wait(interval):
        started = now()
        code, output = _probe(machine, one, command, timeout)
        if run.over.is_set() or one.health is None:
            return
        entry = {"Start": started, "End": now(), "ExitCode": code, "Output": output}
        state = dict(one.health)
        state["Log"] = [*state["Log"], entry][-5:]
        if code == 0:
            state |= {"Status": "healthy", "FailingStreak": 0}
        elif state["Status"] != "starting" or time.monotonic() - begun >= grace:
            state["FailingStreak"] += 1
            if state["FailingStreak"] >= retries:
                state["Status"] = "unhealthy"
        one.health = state


def _probe(machine: Machine, one: Container, command: list[str], timeout: float) -> tuple[int, str]:
    folder = one.folder / f"health-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError:
        return -1, "the container is gone"
    log = Log(folder / "log")
    try:
        run = machine.execute(one, {"Cmd": command}, log, folder / "run")
        if not run.over.wait(timeout):
            run.kill()
            return -1, f"Health check exceeded timeout ({timeout:g}s)"
        records, _ = log.read()
        return run.exit_code, b"".join(record.data for record in records).decode("utf-8", "replace")[:4096]
    except Refused as error:
        return -1, str(error)
    finally:
        with contextlib.suppress(OSError):
            remove_tree(folder)
