"""Give a process a root of its own: by chroot where that is allowed, else bubblewrap, else proot.

- `chroot` needs CAP_SYS_CHROOT. With CAP_SYS_ADMIN as well, the process gets mounts of its own: /proc, bind mounts, a
  read-only root, and no way out of it. Without that (root in an ordinary container), chroot is used for processes
  without mounts.
- `bwrap` needs a kernel that lets any user make a user namespace. That has one user, so `chown` to another fails. It is
  used for processes of other users than root, and for root's if there is no proot.
- `proot` intercepts every system call by ptrace. It works everywhere and takes about twice the time.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import trees
from engine.errors import Refused

WAYS = ("chroot", "bwrap", "proot")
_HERE = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Bind:
    """A file or folder of the machine that a container sees at `target`."""

    source: str
    target: str
    read_only: bool = False


@dataclass
class Process:
    """A command to run, its user, and its root."""

    root: Path
    argv: list[str]
    environment: dict[str, str]
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: list[int] = field(default_factory=list)
    binds: list[Bind] = field(default_factory=list)
    tmpfs: list[str] = field(default_factory=list)
    read_only: bool = False
    tty: bool = False
    ulimits: list[tuple[str, int, int]] = field(default_factory=list)
    # If the program below an init process can't run: the message and exit code of that process.
    failure: tuple[str, int] | None = None


@dataclass(frozen=True)
class Means:
    """The ways that this machine allows."""

    chroot: bool
    mounts: bool
    bwrap: str
    proot: str

    def way(self, process: Process) -> str:
        """Return the way to use for a process. Raises Refused if there is none."""
        if self.chroot and (self.mounts or not (process.binds or process.tmpfs or process.read_only)):
            return "chroot"
        if self.bwrap and (process.uid or not self.proot):
            return "bwrap"
        if self.proot:
            return "proot"
        if self.chroot:
            raise Refused("a folder can't be bound into a container here: install proot (Debian: the package proot)")
        raise Refused(
            "no process can be given a root of its own here: chroot and user namespaces are forbidden, and there is "
            "no proot (Debian: the package proot)"
        )

    @property
    def name(self) -> str:
        """The ways in use, for `docker info`."""
        found = ["chroot"] if self.chroot else []
        if not self.mounts:
            found += [one for one in ("bwrap", "proot") if getattr(self, one)]
        return "+".join(found) or "none"


@functools.cache
def means(forced: str = "") -> Means:
    """Find out, by trying once, which ways work here. `forced` names the only one to use."""
    chroot = forced in ("", "chroot") and _works(["chroot", "/", "/bin/true"])
    mounts = chroot and _works(["unshare", "--mount", "/bin/true"])
    bwrap = shutil.which("bwrap") or ""
    if forced not in ("", "bwrap") or not _works([bwrap, "--bind", "/", "/", "--dev", "/dev", "/bin/true"]):
        bwrap = ""
    proot = shutil.which("proot") or ""
    if forced not in ("", "proot") or not _works([proot, "-0", "-r", "/", "/bin/true"]):
        proot = ""
    return Means(chroot, mounts, bwrap, proot)


def _works(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def makes_devices() -> bool:
    """Return whether the engine is root, which may not get at the machine's /dev under proot."""
    return os.geteuid() == 0


def _proot(program: str, process: Process) -> list[str]:
    line = [program, "-r", os.fspath(process.root)]
    line += ["-0"] if process.uid == 0 else ["-i", f"{process.uid}:{process.gid}"]
    # In the machine's /dev and /sys, root could delete devices. It gets devices made in its own root instead.
    for place in ("/proc",) if makes_devices() else ("/proc", "/dev", "/sys"):
        line += ["-b", place]
    for bind in process.binds:
        if ":" in bind.source or ":" in bind.target:
            raise Refused(f"proot can't bind a path with a colon: {bind.source} at {bind.target}", 501)
        line += ["-b", f"{bind.source}:{bind.target}"]
    return [*line, "-w", process.cwd, *process.argv]


def _bwrap(program: str, process: Process) -> list[str]:
    line = [program, "--die-with-parent", "--unshare-user", "--uid", str(process.uid), "--gid", str(process.gid)]
    line += ["--bind", os.fspath(process.root), "/"]
    line += ["--dev", "/dev", "--bind", "/proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
    line += ["--ro-bind", "/sys", "/sys"]
    # bwrap doesn't follow an image's links in the path of a mount point.
    for place in process.tmpfs:
        line += ["--perms", "1777", "--tmpfs", f"/{_inside(process.root, place)}"]
    for bind in process.binds:
        option = "--ro-bind" if bind.read_only else "--bind"
        line += [option, bind.source, f"/{_inside(process.root, bind.target)}"]
    # Last, because bwrap makes the mount points that an image lacks.
    line += ["--remount-ro", "/"] if process.read_only else []
    return [*line, "--chdir", process.cwd, "--", *process.argv]


def _inside(root: Path, target: str) -> str:
    """Return the path inside a root to which a path resolves, following the image's links."""
    return trees.place_in_root(root, trees.resolve(root, target, last=True))


def start(
    process: Process, found: Means, spec_file: Path, stdin: Any, stdout: Any, stderr: Any
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process below a launcher, and return the launcher and the socket to control it."""
    way = found.way(process)
    program, argv = process.argv[0], process.argv
    if way == "proot":
        program, argv = found.proot, _proot(found.proot, process)
    elif way == "bwrap":
        program, argv = found.bwrap, _bwrap(found.bwrap, process)
    spec = {
        "way": way,
        "program": program,
        "argv": argv,
        "env": process.environment,
        "root": os.fspath(process.root),
        "cwd": process.cwd,
        "uid": process.uid,
        "gid": process.gid,
        "groups": process.groups,
        "binds": [(bind.source, _inside(process.root, bind.target), bind.read_only) for bind in process.binds],
        "tmpfs": [_inside(process.root, place) for place in process.tmpfs],
        "read_only": process.read_only,
        "mounts": found.mounts,
        "own_devices": way == "proot" and makes_devices(),
        "tty": process.tty,
        "ulimits": process.ulimits,
        "failure": process.failure,
        # How many processes of the way itself are parents of the container's first process.
        "depth": 0 if way == "proot" else 1,
    }
    spec_file.write_text(json.dumps(spec))
    ours, theirs = socket.socketpair()
    with theirs:
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", os.fspath(_HERE), os.fspath(spec_file), str(theirs.fileno())],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            cwd="/",
        )
    return launcher, ours
