"""How a process gets a root of its own here: by chroot where that is allowed, else bubblewrap, else proot.

- `chroot`: a process with CAP_SYS_CHROOT. With CAP_SYS_ADMIN too it gets mounts of its own: /proc, bound folders,
  read-only roots, and no way back. Without it (root in an ordinary container) it serves where nothing is to be bound;
  proot elsewhere.
- `bwrap`: a user namespace, where the kernel lets anybody make one. It knows one user: a `chown` to another fails. So
  it is for processes that are not root's, and for root's where there is no proot.
- `proot`: every system call is looked at by ptrace; works everywhere and costs about twice the time.
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
    """What runs, and as whom."""

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
    # Where the program can't be run below an init process: what that one says, and its exit code.
    failure: tuple[str, int] | None = None


@dataclass(frozen=True)
class Means:
    """What this machine allows."""

    chroot: bool
    mounts: bool
    bwrap: str
    proot: str

    def way(self, process: Process) -> str:
        """Return the way for one process. Raises Refused when there is none."""
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
        """The ways that are used here, for `docker info`."""
        found = ["chroot"] if self.chroot else []
        if not self.mounts:
            found += [one for one in ("bwrap", "proot") if getattr(self, one)]
        return "+".join(found) or "none"


@functools.cache
def means(forced: str = "") -> Means:
    """Find out, by trying once, what is allowed here; `forced` names the only way to use."""
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
    """Whether this process is root, to whom nothing of the machine's /dev may be given."""
    return os.geteuid() == 0


def _proot(program: str, process: Process) -> list[str]:
    line = [program, "-r", os.fspath(process.root)]
    line += ["-0"] if process.uid == 0 else ["-i", f"{process.uid}:{process.gid}"]
    # Of the machine's own /dev and /sys root could delete what it is not to: it gets devices made in its root.
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
    # It follows no link of an image to where something is to be mounted.
    for place in process.tmpfs:
        line += ["--perms", "1777", "--tmpfs", f"/{_inside(process.root, place)}"]
    for bind in process.binds:
        option = "--ro-bind" if bind.read_only else "--bind"
        line += [option, bind.source, f"/{_inside(process.root, bind.target)}"]
    # Last: it has to make the places that an image lacks.
    line += ["--remount-ro", "/"] if process.read_only else []
    return [*line, "--chdir", process.cwd, "--", *process.argv]


def _inside(root: Path, target: str) -> str:
    """Return where a path leads inside a root, whatever links an image has on the way."""
    return trees.place_in_root(root, trees.resolve(root, target, last=True))


def start(
    process: Process, found: Means, spec_file: Path, stdin: Any, stdout: Any, stderr: Any
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process below a launcher; the launcher, and the socket over which it is told and tells."""
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
        # How many processes the command puts in front of the container's own.
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
