"""Find, start, recognise and stop a `dockerd` process."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import time
from pathlib import Path

from machine import processes
from machine.errors import EngineFailed

# dockerd gives its containers 15 s to end before it kills them
STOP_SECONDS = 30
KILL_SECONDS = 5
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CA_VARIABLES = re.compile(r"^(.*_CA_BUNDLE|SSL_CERT_(FILE|DIR)|.*_CA_CERTS(_FILE)?|GIT_SSL_CAINFO|PIP_CERT)$")
PROXY_VARIABLES = re.compile(r"^((https?|all|no)_proxy)$", re.IGNORECASE)


def program() -> str | None:
    """Return the path of `dockerd`, or None. Search the administrator's folders, too."""
    return shutil.which("dockerd", path=search_path())


def search_path() -> str:
    """Return the PATH with the administrator's folders, which hold dockerd, containerd and iptables."""
    return f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}".lstrip(":")


def spawn(arguments: list[str], log: Path) -> int:
    """Start dockerd with its output in `log`, and return its pid. Raises EngineFailed if there is no dockerd."""
    found = program()
    if found is None:
        raise EngineFailed("There is no dockerd to start. Install Docker Engine.")
    return spawn_program([found, *arguments], log)


def spawn_program(command: list[str], log: Path) -> int:
    """Start an engine that outlives this process, with its output in `log`, and return its pid."""
    outputs: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # A Ctrl-C waits until the kernel shows the new arguments, by which `stop` finds the engine.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        # A session of its own, so that a Ctrl-C in the terminal doesn't reach it.
        pid = os.posix_spawn(command[0], command, environment(), file_actions=outputs, setsid=True, setsigmask=mask)
        while processes.born(pid) is not None and not processes.command_line(pid):
            time.sleep(0.001)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def environment() -> dict[str, str]:
    """Return the daemon's environment: the user's own, without what a shell of the sandbox adds to it.

    In such a shell (WORKBOOK_HOME is set) the variables for proxies and CAs name the sandbox, which may end before the
    engine. The user's own proxy is in WORKBOOK_UPSTREAM_PROXY.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    if "WORKBOOK_HOME" in kept:
        for name in list(kept):
            if PROXY_VARIABLES.match(name) or CA_VARIABLES.match(name):
                del kept[name]
        upstream = kept.get("WORKBOOK_UPSTREAM_PROXY")
        if upstream:
            kept |= {"HTTP_PROXY": upstream, "HTTPS_PROXY": upstream, "NO_PROXY": "localhost,127.0.0.1"}
    return {**kept, "PATH": search_path()}


def written_pid(path: Path, folder: Path) -> int | None:
    """Return the pid in the file `path` if that process has `folder` in its arguments, since pids are reused."""
    try:
        pid = int(path.read_text())
    except (OSError, ValueError):
        return None
    return pid if any(f"{folder}/" in argument for argument in processes.command_line(pid)) else None


def end(pid: int | None) -> bool:
    """Stop a process of ours, at last by SIGKILL. Return False without one. Raises EngineFailed if it doesn't end."""
    if pid is None:
        return False
    for wanted, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        processes.send(pid, wanted)
        if processes.wait_gone(pid, seconds):
            return True
    raise EngineFailed(f"The private Docker Engine (pid {pid}) doesn't end, even when killed.")


def unmount(data: Path, namespaces: Path) -> None:
    """Remove the mounts that a dockerd leaves, so that its folders can be deleted.

    dockerd mounts `data` on itself, and the host's network namespace in `namespaces`. Both mounts outlive a kill.
    """
    place = str(data).replace(" ", r"\040")
    table = Path("/proc/self/mountinfo")
    # A system without it has no dockerd of ours either.
    for line in table.read_text().splitlines() if table.exists() else ():
        root, point = line.split()[3:5]
        # A disk that the user mounted on the data folder has the root "/".
        if (point == place and root != "/") or point.startswith(f"{namespaces}/"):
            # The system call, since a minimal Debian has no `umount` command. Errors (busy, not mounted) are ignored.
            ctypes.CDLL(None).umount2(os.fsencode(point.replace(r"\040", " ")), 0)
