"""Processes of this machine, read from /proc (Linux only)."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path


def born(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None if there is none, or only its zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command in brackets, which may hold spaces and brackets itself.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def command_line(pid: int) -> list[str]:
    """Return the arguments of the process, [] if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to the process; nothing happens when it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_gone(pid: int, seconds: float) -> bool:
    """Wait until the process has ended, children of ours included. False when it still runs after that time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([handle], [], [], seconds)
        if ready:
            # A child of ours stays as a zombie until somebody asks for its status.
            _reap(pid)
        return bool(ready)
    finally:
        os.close(handle)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
