"""The two registries that are measured: a sandbox, and Debian's docker-registry, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

from sandbox import access, seed, tokens
from sandbox.clock import Clock
from sandbox.world import World

ROOT = Path(__file__).parents[2]
HOST = "us-central1-docker.pkg.dev"
PROJECT = "bench-registry"


@dataclass(frozen=True)
class Peer:
    """One registry that runs.

    Attributes:
        name: what stands before the image in `/v2/<name>/`.
        token: for Authorization; empty where none is asked for.
    """

    title: str
    port: int
    name: str
    token: str
    pid: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def headers(self) -> list[str]:
        return ["-H", f"Authorization: Bearer {self.token}"] if self.token else []

    def busy(self) -> float:
        """Seconds of the processor that it has used, its own and the kernel's for it."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """The most resident bytes that it ever had."""
        return int(Path(f"/proc/{self.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def run(*command: str) -> str:
    """What a command prints; an error when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)[:300]}: {done.stderr[-800:]}")
    return done.stdout


def answers(url: str) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=2).status_code in (200, 401)
    return False


def wait_for(url: str) -> None:
    """Until it answers, 30 s at most."""
    deadline = time.monotonic() + 30
    while not answers(url):
        if time.monotonic() > deadline:
            raise TimeoutError(url)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start(folder: Path) -> tuple[subprocess.Popen[bytes], float]:
    """A sandbox on a folder, and the seconds until it was ready."""
    command = [sys.executable, "-m", "sandbox", "--home", str(folder), "--port", "0", "--project", PROJECT]
    (folder / "sandbox.json").unlink(missing_ok=True)
    started = time.perf_counter()
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    while not (folder / "sandbox.json").exists():
        if time.perf_counter() - started > 60 or child.poll() is not None:
            raise RuntimeError((folder / "log").read_text())
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.01)
    return child, time.perf_counter() - started


@contextlib.contextmanager
def sandbox(folder: Path) -> Iterator[Peer]:
    """A sandbox with a repository."""
    world = World(folder / "state", Clock())
    about = seed.prepare(world, folder, PROJECT, "us-central1")
    learner = f"serviceAccount:{about['learner']}"
    with world.writing() as rows:
        access.grant(rows, world, f"projects/{PROJECT}", "roles/owner", learner)
        rows.execute("INSERT OR IGNORE INTO services VALUES (?, 'artifactregistry.googleapis.com', 'x')", (PROJECT,))
    token = tokens.mint(world, learner, lifetime=36000)
    world.close()
    child, _ = start(folder)
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
        yield Peer("sandbox", port, f"{HOST}/{PROJECT}/r", token, child.pid)
    finally:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def distribution(folder: Path, program: str) -> Iterator[Peer]:
    """Debian's docker-registry on a folder."""
    port = free_port()
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {folder / 'data'}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("w") as log:
        child = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        wait_for(f"http://localhost:{port}/v2/")
        yield Peer("docker-registry", port, "bench/r", "", child.pid)
    finally:
        child.terminate()
        child.wait()
