"""Processes of this machine: read from /proc, and asked of `ps` where there is none, as on macOS."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from pathlib import Path

PROC = Path("/proc")


def born(pid: int) -> int | str | None:
    """Return when the process started; None if there is none, or only its zombie.

    It is only good for comparing: clock ticks since boot, or the date that `ps` writes.
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
    """Whether the process that `born` once said `started` of still runs.

    Where `started` was written in the other form (from `ps`, and now /proc is there), the two can't be compared: then a
    process of that number is taken for it, since stopping what is in use is worse than keeping what isn't.
    """
    now = born(pid)
    return now is not None and started is not None and (type(now) is not type(started) or now == started)


def command_line(pid: int) -> list[str]:
    """Return the arguments of the process, [] if there is none. Those that hold a space come in parts from `ps`."""
    if not _has_proc():
        return _ps(pid, "command=").split() if born(pid) is not None else []
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def with_arguments(*wanted: str) -> int | None:
    """Return the pid of a process of ours that was started with all of these; None without one, or without /proc."""
    for folder in PROC.glob("[0-9]*"):
        try:
            mine = folder.stat().st_uid == os.geteuid()
        except OSError:
            continue
        if mine and set(wanted) <= set(command_line(int(folder.name))) and born(int(folder.name)) is not None:
            return int(folder.name)
    return None


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to the process; nothing happens when it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_gone(pid: int, seconds: float) -> bool:
    """Wait until the process has ended, children of ours included. False when it still runs after that time."""
    if not hasattr(os, "pidfd_open"):
        return _watch_gone(pid, seconds)
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


def _watch_gone(pid: int, seconds: float) -> bool:
    """Do what `wait_gone` does, on a system where a process has no handle to wait for."""
    deadline = time.monotonic() + seconds
    while True:
        if born(pid) is None:
            # It may be a child of ours that ended, which stays as a zombie until somebody asks for its status.
            _reap(pid)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def _has_proc() -> bool:
    return (PROC / "self").exists()


def _ps(pid: int, *columns: str) -> str:
    """Return what `ps` writes in these columns about the process, "" if there is none."""
    chosen = [part for column in columns for part in ("-o", column)]
    done = subprocess.run(
        ["ps", *chosen, "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        # The date in the words of one language, whoever asks.
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
    )
    return done.stdout.strip()
