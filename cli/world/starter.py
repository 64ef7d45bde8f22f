"""The starter: a sandbox and the folder that is its world, from `start` to `stop`.

The folder holds the sandbox's state, the learner's key and the configuration of gcloud and docker for this world alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests

from cli.world import settings
from helpers import target
from helpers.target import ROOT, SandboxInfo
from machine import engine as machine_engine
from machine import locks, platforms, processes

LEARNERS_HOME: Final = ROOT / ".sandbox"
USUAL_PORT: Final = 5001
_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 15.0
_TAKEN: Final = 4  # exit status of a sandbox whose port is taken
_NOT_WHOLE: Final = 5
_ROOM: Final = 4 << 20  # bytes free, below which the disk counts as full
# `reset` keeps the engine's data, the downloaded gcloud, and the learner's work.
_KEPT: Final = frozenset({"engine", "gcloud-cli", "lab"})
_LOCK: Final = "starter.lock"
# Further options for `python -m sandbox`: WORKBOOK_SANDBOX_OPTIONS=--slow workbook start
OPTIONS: Final = "WORKBOOK_SANDBOX_OPTIONS"

_children: dict[int, subprocess.Popen[bytes]] = {}


class WorldError(RuntimeError):
    """The sandbox didn't start or stop. The message shows why and where its log is."""


@dataclass(frozen=True)
class World:
    """A running sandbox and its folder."""

    home: Path
    info: SandboxInfo

    @property
    def url(self) -> str:
        """The plain port: `http://localhost:PORT`."""
        return f"http://localhost:{self.info.port}"

    @property
    def lab_run(self) -> str:
        """The run's id for a learner's own work, which is different in each sandbox on an engine."""
        return f"lab-{self.info.project_id.removeprefix('ml-workbook-')}"

    def console(self, page: str = "") -> str:
        """Return an address that signs a browser in to the console as the learner, once, within ten minutes.

        `page` is the first page, as a path below `/console`.
        """
        code = self.admin("console:signIn", {"member": f"serviceAccount:{self.info.learner}"})["code"]
        return f"http://127.0.0.1:{self.info.port}/console/sign-in?code={code}" + (
            f"&to={quote(page, safe='')}" if page else ""
        )

    def admin(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the admin API: GET (`status`, `requests`), or POST with a body (`tokens:expire`, `clock:advance`).

        Raises requests.RequestException, and WorldError when the answer isn't 200.
        """
        token = (self.home / "admin-token").read_text(encoding="utf-8").strip()
        with requests.Session() as session:
            # Never connect to the plain port through a proxy.
            session.trust_env = False
            answer = session.request(
                "GET" if body is None else "POST",
                f"{self.url}/_sandbox/{path}",
                json=None if body is None else dict(body),
                headers={"Authorization": f"Bearer {token}"},
                timeout=10,
            )
        if answer.status_code != 200:
            raise WorldError(f"The sandbox answered {answer.status_code} to {path}: {answer.text[:300]}")
        return answer.json()

    def environment(
        self, engine: Mapping[str, str], *, run: str, python_image: str = "", base: Mapping[str, str] | None = None
    ) -> dict[str, str | None]:
        """Return the changes that point an environment to this world, as `target.sandbox_environment` does."""
        changes = target.sandbox_environment(
            self.home, self.info, engine, run=run, python_image=python_image, base=base
        )
        path = changes.get("PATH") or (os.environ if base is None else base).get("PATH", "")
        return changes | platforms.environment(self.home / "bin", path)


@dataclass(frozen=True)
class Status:
    """Whether the world in `home` runs, with one sentence about it."""

    home: Path
    world: World | None
    detail: str


def status(home: Path) -> Status:
    """Return whether the world in `home` runs. Changes nothing."""
    home = home.resolve()
    try:
        info = SandboxInfo.read(home / "sandbox.json")
    except FileNotFoundError:
        return Status(home, None, f"No sandbox runs in {home}.")
    except ValueError as error:
        return Status(home, None, str(error))
    if not _is_ours(info.pid, home):
        return Status(home, None, f"The sandbox in {home} is gone (process {info.pid} ended without a clean stop).")
    world = World(home, info)
    try:
        world.admin("status")
    except (requests.RequestException, WorldError, OSError) as error:
        return Status(home, None, f"Process {info.pid} doesn't answer at {world.url}: {error}")
    return Status(home, world, f"The sandbox runs at {world.url}, project {info.project_id}, process {info.pid}.")


def start(
    home: Path,
    *,
    project: str = "",
    port: int | None = None,
    clock: str | None = None,
    region: str = target.REGION,
    seconds: float = _READY_SECONDS,
) -> World:
    """Start the sandbox in `home` unless it runs, and return it.

    `project` is the project of a new world. By default its id is unique, because it distinguishes the images of
    several worlds on one engine.

    `port` None means the previous port, else 5001, else any free one, and 0 means any free one. `clock` (RFC 3339)
    fixes the sandbox's clock. Raises WorldError with the end of the log when it isn't ready within `seconds`.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(home):
        running = status(home).world
        if running is None:
            project = project or f"ml-workbook-{secrets.token_hex(3)}"
            running = _launch(home, project, port, clock, region, time.monotonic() + seconds)
        try:
            machine_engine.lease(_lease(home), running.info.pid)
            settings.write_gcloud(home, running.info)
            settings.write_docker(home)
            settings.sign_in(home, running.info, running.environment({}, run="sign-in"))
        except BaseException:
            _stop(home)
            raise
    return running


def stop(home: Path) -> bool:
    """Stop the sandbox in `home`, and return whether it was running. Raises WorldError when it can't be stopped."""
    home = home.resolve()
    if not home.is_dir():
        return False
    with _locked(home):
        return _stop(home)


def reset(home: Path) -> None:
    """Stop the sandbox and delete its world. The engine's data and the learner's notebooks stay."""
    home = home.resolve()
    if not home.is_dir():
        return
    with _locked(home):
        _stop(home)
        for entry in home.iterdir():
            if entry.name in _KEPT or entry.name == _LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


@dataclass(frozen=True)
class Checkup:
    """The result of checking a world's files. `whole` is False when something is wrong that wasn't repaired."""

    whole: bool = True
    lines: tuple[str, ...] = ()


def check(home: Path, *, repair: bool) -> Checkup:
    """Check every row and blob of a world that doesn't run. Raises WorldError when it can't be checked."""
    home = home.resolve()
    if not (home / "state").is_dir():
        return Checkup()
    with _locked(home):
        if status(home).world is not None:
            if repair:
                raise WorldError(f"The sandbox in {home} runs. Stop it first, then repair it: `workbook stop`.")
            return Checkup(lines=(f"The world in {home} runs, so it isn't looked at. Stop it first: `workbook stop`.",))
        command = [sys.executable, "-m", "sandbox", "--home", str(home), "--repair" if repair else "--check"]
        ran = subprocess.run(
            command, cwd=ROOT, env=target.process_environment(), capture_output=True, text=True, check=False
        )
    if ran.returncode not in (0, _NOT_WHOLE):
        raise WorldError(f"The world in {home} can't be looked at:\n{ran.stderr.strip()[-2000:]}")
    return Checkup(ran.returncode == 0, tuple(ran.stdout.splitlines()))


def _forget_containers(home: Path) -> None:
    """Remove the containers that a killed sandbox left on the engine, which have the world's id as a label."""
    mark = home / "state" / "engine-world-id"
    if mark.is_file() and (found := machine_engine.find()) is not None:
        machine_engine.remove_labelled(found, f"workbook-world={mark.read_text(encoding='utf-8').strip()}")


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    with locks.held(home / _LOCK):
        yield


def _lease(home: Path) -> str:
    return "sandbox-" + hashlib.sha256(str(home).encode()).hexdigest()[:12]


def _launch(home: Path, project: str, port: int | None, clock: str | None, region: str, deadline: float) -> World:
    (home / "sandbox.json").unlink(missing_ok=True)
    ports = (port,) if port is not None else _usual_ports(home)
    for attempt in ports:
        child = _spawn(home, project, attempt, clock, region)
        world = _wait(home, child, deadline)
        if world is not None:
            (home / "port").write_text(f"{world.info.port}\n", encoding="utf-8")
            (home / "edge-port").write_text(f"{world.info.edge_port}\n", encoding="utf-8")
            return world
    raise WorldError(f"The sandbox can't start in {home}.\n{_tail(home)}")


def _usual_ports(home: Path) -> tuple[int, ...]:
    """Return the ports to try. The previous one comes first, because image names contain the port."""
    wanted = dict.fromkeys((_remembered(home / "port") or USUAL_PORT, USUAL_PORT))
    return (*(candidate for candidate in wanted if is_free(candidate)), 0)


def _edge_port(home: Path) -> int:
    """Return the previous edge port if it is free, because open kernels and terminals have it in their environment."""
    last = _remembered(home / "edge-port")
    return last if last and is_free(last) else 0


def _remembered(path: Path) -> int:
    """Return the port in a file, or 0 if it is missing or damaged."""
    try:
        port = int(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0
    return port if 0 < port < 2**16 else 0


def is_free(port: int) -> bool:
    """Return whether a port of 127.0.0.1 is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _spawn(home: Path, project: str, port: int, clock: str | None, region: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sandbox", "--home", str(home), "--port", str(port), "--project", project]
    command += ["--region", region, "--edge-port", str(_edge_port(home))]
    if clock:
        command += ["--clock", clock]
    command += shlex.split(os.environ.get(OPTIONS, ""))
    found = machine_engine.find()
    # The sandbox needs the engine because it runs builds and services in containers.
    engine = machine_engine.environment(found) if found else {}
    environment = target.process_environment() | engine
    environment["PATH"] = platforms.without(home / "bin", environment.get("PATH", ""))
    with (home / "sandbox.log").open("ab") as log:
        # A session of its own, so that Ctrl-C stops the notebook first, and the sandbox after it.
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # Reap sandboxes that ended by themselves.
    for pid in [pid for pid, known in _children.items() if known.poll() is not None]:
        del _children[pid]
    _children[child.pid] = child
    return child


def _wait(home: Path, child: subprocess.Popen[bytes], deadline: float) -> World | None:
    """Wait until the world is ready and return it, or None if the port is taken."""
    try:
        while time.monotonic() < deadline:
            code = child.poll()
            if code == _TAKEN:
                return None
            if code is not None:
                raise WorldError(
                    f"The sandbox can't start in {home}: it ended with exit status {code} before it was ready.\n"
                    f"{_tail(home)}"
                )
            with contextlib.suppress(FileNotFoundError, ValueError, requests.RequestException, WorldError):
                world = World(home, SandboxInfo.read(home / "sandbox.json"))
                if world.info.pid == child.pid and world.admin("status").get("status") == "ready":
                    return world
            time.sleep(0.05)
    except BaseException:
        _end(child.pid)
        raise
    _end(child.pid)
    raise WorldError(f"The sandbox wasn't ready in time.\n{_tail(home)}")


def _tail(home: Path, lines: int = 15) -> str:
    log = home / "sandbox.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    shown = [f"The end of {log}:", *(f"  {line}" for line in text.splitlines()[-lines:])]
    if shutil.disk_usage(home).free < _ROOM:
        # Then the log may lack the reason.
        shown.append(f"The disk that holds {home} is full: make room, then start again.")
    return "\n".join(shown)


def _stop(home: Path) -> bool:
    try:
        was_running = _end_sandbox(home)
        _forget_containers(home)
        return was_running
    finally:
        # At the end, because the sandbox needs the engine to remove its containers.
        machine_engine.release(_lease(home))


def _end_sandbox(home: Path) -> bool:
    path = home / "sandbox.json"
    try:
        pid = SandboxInfo.read(path).pid
    except (FileNotFoundError, ValueError):
        # The process that started it may have been killed before it was ready.
        found = processes.with_arguments("-m", "sandbox", str(home))
        if found is None:
            path.unlink(missing_ok=True)
            return False
        pid = found
    was_running = _is_ours(pid, home)
    if was_running:
        _end(pid)
    path.unlink(missing_ok=True)
    return was_running


def _end(pid: int) -> None:
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, 5.0)):
        processes.send(pid, number)
        if processes.wait_gone(pid, seconds):
            if child := _children.pop(pid, None):
                child.poll()
            return
    raise WorldError(f"Process {pid} can't be stopped. End it by hand with `kill -9 {pid}`.")


def _is_ours(pid: int, home: Path) -> bool:
    """Return whether the process is the sandbox of `home`, because another process may have got its number."""
    words = processes.command_line(pid)
    # In the joined words, since `ps` splits a path at its spaces.
    return "sandbox" in words and f" {home} " in f" {' '.join(words)} "
