"""Processes of this machine, from /proc, or from `ps` on systems without it, such as macOS."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from pathlib import Path

PROC = Path("/proc")


def born(pid: int) -> int | str | None:
    """Return when the process started, or None if it has ended.

    The value is for comparisons only: clock ticks since boot, or the date that `ps` prints.
    """
    if not _has_proc():
        state, _, started = _ps(pid, "stat=", "lstart=").partition(" ")
        return started.strip() if state and state[0] not in "ZX" else None
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The second field is the command in brackets, which may hold spaces and brackets itself.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_the_one(pid: int, started: object) -> bool:
    """Return whether a process for which `born` returned `started` still runs.

    If `started` is in the other form (from `ps`, and now there is /proc), they can't be compared, and any process with
    that number passes: stopping an engine in use is worse than keeping an unused one.
    """
    now = born(pid)
    return now is not None and started is not None and (type(now) is not type(started) or now == started)


def command_line(pid: int) -> list[str]:
    """Return the arguments of the process, or [] if there is none. From `ps`, arguments with spaces are split."""
    if not _has_proc():
        return _ps(pid, "command=").split() if born(pid) is not None else []
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def with_arguments(*wanted: str) -> int | None:
    """Return the pid of a process of ours with all these arguments, or None, also without /proc."""
    for folder in PROC.glob("[0-9]*"):
        try:
            mine = folder.stat().st_uid == os.geteuid()
        except OSError:
            continue
        if mine and set(wanted) <= set(command_line(int(folder.name))) and born(int(folder.name)) is not None:
            return int(folder.name)
    return None


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to the process, unless it has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_gone(pid: int, seconds: float) -> bool:
    """Wait until the process has ended, which may be a child of ours. Return False if it hasn't by then."""
    if not hasattr(os, "pidfd_open"):
        return _watch_gone(pid, seconds)
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([handle], [], [], seconds)
        if ready:
            # A child of ours is a zombie until its status is read.
            _reap(pid)
        return bool(ready)
    finally:
        os.close(handle)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _watch_gone(pid: int, seconds: float) -> bool:
    """Do the same as `wait_gone` on systems without pidfds."""
    deadline = time.monotonic() + seconds
    while True:
        if born(pid) is None:
            # A child of ours that has ended is a zombie until its status is read.
            _reap(pid)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def _has_proc() -> bool:
    return (PROC / "self").exists()


def _ps(pid: int, *columns: str) -> str:
    """Return these columns of `ps` for the process, or "" if there is none."""
    chosen = [part for column in columns for part in ("-o", column)]
    done = subprocess.run(
        ["ps", *chosen, "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        # The date in the same language for every user.
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
    )
    return done.stdout.strip()
