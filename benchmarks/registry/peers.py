"""Start the registries that are measured, each in its own process: a sandbox, Debian's docker-registry and a stub."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import requests

from sandbox import seed
from sandbox.iam import policies, tokens
from sandbox.state.clock import Clock
from sandbox.state.world import World

ROOT = Path(__file__).parents[2]
HOST = "us-central1-docker.pkg.dev"
PROJECT = "bench-registry"
NOTHING = Path(__file__).with_name("nothing.py")


@dataclass(frozen=True)
class Peer:
    """A running registry.

    Attributes:
        name: the path between `/v2/` and the image.
        token: the access token, or an empty string for a registry without authentication.
    """

    title: str
    port: int
    name: str
    token: str
    pid: int

    @property
    def url(self) -> str:
        """The registry's address."""
        return f"http://localhost:{self.port}"

    @property
    def headers(self) -> list[str]:
        """The options with which curl signs in."""
        return ["-H", f"Authorization: Bearer {self.token}"] if self.token else []

    def busy(self) -> float:
        """Return the processor seconds that the registry has used, in user and in kernel mode."""
        return busy(self.pid)

    def memory(self) -> int:
        """Return the registry's peak resident bytes."""
        return int(Path(f"/proc/{self.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def busy(pid: int) -> float:
    """Return the processor seconds that a process has used, in user and in kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(*command: str) -> str:
    """Run a command and return its output, or raise RuntimeError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)[:300]}: {done.stderr[-800:]}")
    return done.stdout


def answers(url: str) -> bool:
    """Return whether a registry answers at this address."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=2).status_code in (200, 401)
    return False


def wait_for(url: str, seconds: float = 30) -> None:
    """Wait until a registry answers at this address."""
    deadline = time.monotonic() + seconds
    while not answers(url):
        if time.monotonic() > deadline:
            raise TimeoutError(url)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Process:
    """A program that writes its output to the file `log`, and that SIGTERM stops.

    Args:
        sync: the milliseconds by which strace delays each of the program's syncs.
    """

    def __init__(self, command: Sequence[str], folder: Path, sync: float = 0) -> None:
        self._traced = sync > 0
        if self._traced:
            which = "fsync,fdatasync"
            late = f"inject={which}:delay_exit={round(sync * 1000)}"
            command = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={which}", "-e", late, *command]
        with (folder / "log").open("w") as log:
            self.child = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)

    @property
    def pid(self) -> int:
        """The process id of the program itself, not of strace."""
        if not self._traced:
            return self.child.pid
        return int(Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()[0])

    def stop(self) -> None:
        """Stop the program and wait for it. strace ends with the program that it traces."""
        if self.child.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        self.child.wait()


def start(folder: Path, sync: float = 0) -> tuple[Process, float]:
    """Start a sandbox on a folder, and return it with the seconds until it was ready."""
    command = [sys.executable, "-m", "sandbox", "--home", str(folder), "--port", "0", "--project", PROJECT]
    (folder / "sandbox.json").unlink(missing_ok=True)
    started = time.perf_counter()
    process = Process(command, folder, sync)
    while not (folder / "sandbox.json").exists():
        if time.perf_counter() - started > 60 or process.child.poll() is not None:
            raise RuntimeError((folder / "log").read_text())
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.child.wait(timeout=0.01)
    return process, time.perf_counter() - started


@contextlib.contextmanager
def sandbox(folder: Path, sync: float = 0) -> Iterator[Peer]:
    """Yield a sandbox with a repository."""
    world = World(folder / "state", Clock())
    about = seed.prepare(world, folder, PROJECT, "us-central1")
    learner = f"serviceAccount:{about['learner']}"
    with world.writing() as rows:
        policies.grant(rows, world, f"projects/{PROJECT}", "roles/owner", learner)
        rows.execute("INSERT OR IGNORE INTO services VALUES (?, 'artifactregistry.googleapis.com', 'x')", (PROJECT,))
    token = tokens.mint(world, learner, lifetime=36000)
    world.close()
    process, _ = start(folder, sync)
    try:
        port = json.loads((folder / "sandbox.json").read_text())["port"]
        parent = f"projects/{PROJECT}/locations/us-central1/repositories?repositoryId=r"
        made = requests.post(
            f"http://localhost:{port}/artifactregistry.googleapis.com/v1/{parent}",
            json={"format": "DOCKER"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        made.raise_for_status()
        yield Peer("sandbox", port, f"{HOST}/{PROJECT}/r", token, process.pid)
    finally:
        process.stop()


@contextlib.contextmanager
def distribution(folder: Path, program: str, sync: float = 0) -> Iterator[Peer]:
    """Yield Debian's docker-registry on a folder."""
    port = free_port()
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {folder / 'data'}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    process = Process([program, "serve", str(folder / "config.yml")], folder, sync)
    try:
        wait_for(f"http://localhost:{port}/v2/")
        yield Peer("docker-registry", port, "bench/r", "", process.pid)
    finally:
        process.stop()


@contextlib.contextmanager
def nothing() -> Iterator[Peer]:
    """Yield a registry that stores nothing."""
    with subprocess.Popen([sys.executable, NOTHING], stdout=subprocess.PIPE, text=True) as child:
        try:
            yield Peer("nothing", int(cast(IO[str], child.stdout).readline()), "bench/r", "", child.pid)
        finally:
            child.terminate()
