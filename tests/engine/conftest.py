"""Start engines for tests: ours, and a dockerd to compare with, each in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from engine import jail
from machine import dockerd, private_engine

ROOT = Path(__file__).parents[2]
# The way in which the engine must make roots; "" for the best one here.
WAY = os.environ.get("WORKBOOK_TEST_WAY", "")


class Running:
    """Our engine in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        command = [sys.executable, "-m", "engine", f"--socket={self.socket}", f"--root={self.folder / 'root'}"]
        command.append(f"--way={WAY}")
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert b"serves" in self.process.stdout.readline()

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def docker(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "DOCKER_BUILDKIT": "0"}
        environment["DOCKER_HOST"] = self.host
        command = ["docker", *arguments]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, env=environment, timeout=60
        )


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[Running]:
    """Run our engine in a folder. Skip the test if no process can get a root of its own."""
    if shutil.which("docker") is None:
        pytest.skip("the docker command is not on the PATH")
    try:
        jail.means(WAY).way(jail.Process(Path("/"), [], {}))
    except jail.Refused as error:
        pytest.skip(str(error))
    folder.mkdir(parents=True, exist_ok=True)
    one = Running(folder)
    one.start()
    try:
        yield one
    finally:
        one.stop()


@contextlib.contextmanager
def theirs(folder: Path, *, version: str) -> Iterator[str]:
    """Run a dockerd in a folder. Skip the test if none can start."""
    if os.geteuid() != 0 or dockerd.program() is None:
        pytest.skip("no dockerd can be started to compare with: that needs root and dockerd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBOOK_ENGINE_HOME", str(folder))
        patch.setenv("DOCKER_CONFIG", str(folder / "docker"))
        patch.delenv("DOCKER_HOST", raising=False)
        try:
            host = private_engine.start(lambda _: None)
        except private_engine.EngineFailed as error:
            pytest.skip(f"no dockerd can be started to compare with: {error}")
        try:
            with contextlib.closing(docker.DockerClient(base_url=host)) as client:
                found = str(client.version()["Version"])
            if not found.startswith(version):
                pytest.skip(f"compared with Docker Engine {version}x, and here is {found}")
            yield host
        finally:
            private_engine.stop()
            shutil.rmtree(Path(host.removeprefix("unix://")).parent, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
