"""Containers for build steps and services: the `docker` command as a process, with nothing of the user's around it.

The engine is the one of the sandbox's own environment (`DOCKER_HOST`). Whatever is made here carries the world's label,
so that a stop, and the next start after a crash, find all of it.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import secrets
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sandbox.state.disk import sync_folder
from sandbox.state.world import World

LABEL = "workbook-world"
STAND_IN = "workbook/python-stand-in"
PUBLIC_BASE = "python:3.12-slim"
WORLD_ID = "engine-world-id"
_CALL_SECONDS = 120
_ENV_LINE = 60_000  # bytes of a line that docker reads from a file of variables
# What the docker command itself, or what it is written in, reads from its environment.
_COMMANDS_OWN = re.compile(
    r"PATH|HOME|LC_.*|LANG|DOCKER_.*|BUILDKIT_.*|.*_(PROXY|proxy)|SSL_CERT_.*|GO[A-Z0-9]+|XDG_.*|TMPDIR"
)
_naming = threading.Lock()


class EngineFailed(Exception):
    """The engine does not answer, or refused; the text says what it said."""


@dataclass(frozen=True)
class Address:
    """Where this world listens: the plain port and the edge, on loopback.

    `google_urls`: whether deployed services are told under Google's own addresses, which only the edge leads to.
    """

    port: int
    edge: int
    google_urls: bool = False

    @property
    def registry(self) -> str:
        """What stands in front of Google's registry names for docker."""
        return f"localhost:{self.port}"


def address(world: World) -> Address:
    """Read from `sandbox.json`, which is there whenever the sandbox serves.

    Raises:
        EngineFailed: when the world is not served; jobs cannot run then.
    """
    try:
        about = json.loads((world.folder.parent / "sandbox.json").read_text())
        return Address(int(about["port"]), int(about["edge_port"]), bool(about.get("google_urls")))
    except (OSError, ValueError, KeyError):
        raise EngineFailed("the sandbox is not serving, so no container could reach it") from None


def world_id(world: World) -> str:
    """Return what tells this world's things on an engine from every other world's.

    Random, and kept for as long as it lives.

    The folder's path would not do: worlds in two containers that share an engine may have the same.
    """
    path = world.folder / WORLD_ID
    with _naming:
        if not path.exists():
            part = path.with_name(f"{WORLD_ID}.part")
            part.write_text(secrets.token_hex(6))
            part.rename(path)
            sync_folder(world.folder)
    return path.read_text()


def label(world: World) -> str:
    """`workbook-world=…`, the same for every start of this world. Remembers that something was made."""
    return f"{LABEL}={world_id(world)}"


def host_environment(config: Path | None = None) -> dict[str, str]:
    """Return the environment of a docker command: the engine's address and nothing of the user's."""
    kept = {name: os.environ[name] for name in ("DOCKER_HOST", "PATH") if os.environ.get(name)}
    folder = str(config) if config else "/nonexistent"
    return {"HOME": folder, "DOCKER_CONFIG": folder, "DOCKER_BUILDKIT": "0", "LC_ALL": "C.UTF-8", **kept}


def call(
    *arguments: str,
    config: Path | None = None,
    stdin: bytes | IO[bytes] | None = None,
    seconds: float = _CALL_SECONDS,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a docker command to its end; what it printed.

    Args:
        environment: variables of the command, beside its own.

    Raises:
        EngineFailed: when it is missing, fails, or takes too long.
    """
    try:
        done = subprocess.run(
            ["docker", *arguments],
            input=stdin if isinstance(stdin, bytes) else None,
            stdin=None if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL,
            capture_output=True,
            env={**(environment or {}), **host_environment(config)},
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise EngineFailed("the docker command is not on the sandbox's PATH") from None
    except subprocess.TimeoutExpired:
        raise EngineFailed(f"docker {arguments[0]} took longer than {seconds:g} seconds") from None
    if done.returncode != 0:
        raise EngineFailed(done.stderr.decode("utf-8", "replace").strip() or f"docker {arguments[0]} failed")
    return done.stdout.decode("utf-8", "replace").strip()


def run_with(environment: Mapping[str, str], *arguments: str) -> str:
    """`docker run …` with variables for the container that no command line shows: they may be secrets.

    They come as a file on the command's standard input. A value that no line of such a file can hold comes through the
    command's own environment, which only its user can read.

    Raises:
        EngineFailed: as `call`; also for a value of several lines under a name that the command itself looks at.
    """
    lines, own = [], {}
    for name, value in environment.items():
        if "\n" not in value and "\r" not in value and len(value.encode()) < _ENV_LINE:
            lines.append(f"{name}={value}")
        elif _COMMANDS_OWN.match(name):
            raise EngineFailed(f"the value of {name} has several lines, or is too long for a variable of that name")
        else:
            own[name] = value
    named = [part for name in own for part in ("--env", name)]
    file = "\n".join(lines).encode()
    return call("run", "--env-file", "/dev/stdin", *named, *arguments, stdin=file, environment=own)


def start(arguments: Sequence[str], config: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a docker command whose output is read while it runs; errors and output come together."""
    return subprocess.Popen(
        ["docker", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=host_environment(config),
        start_new_session=True,
    )


def write_config(folder: Path, registry: str, token: str) -> None:
    """Write a docker configuration that knows one registry and one token."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    entry = base64.b64encode(f"oauth2accesstoken:{token}".encode()).decode()
    handle = os.open(folder / "config.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump({"auths": {registry: {"auth": entry}}}, file)


def image_digest(name: str) -> str:
    """Return the digest of an image that is on the engine: its manifest's, or its own id when it came from nowhere."""
    form = "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}"
    try:
        return call("image", "inspect", "--format", form, name).strip().rpartition("@")[2]
    except EngineFailed:
        return ""


def has_image(name: str) -> bool:
    """Whether the engine has an image under that name."""
    try:
        call("image", "inspect", "--format", "{{.Id}}", name)
    except EngineFailed:
        return False
    return True


def is_running(container: str) -> bool:
    """Whether the engine says that a container runs.

    Raises:
        EngineFailed: when the engine does not answer.
    """
    found = call("ps", "--all", "--no-trunc", "--filter", f"id={container}", "--format", "{{.State}}")
    return found == "running"


def base_image() -> str:
    """Return an image with a shell and Python, for the builders that cannot be pulled; empty when there is none."""
    found = call("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", STAND_IN).splitlines()
    if found:
        return sorted(found)[-1]
    return PUBLIC_BASE if has_image(PUBLIC_BASE) else ""


def has_bridge() -> bool:
    """Whether containers have a network that leads outside; on an engine without one they share the machine's.

    Whoever starts the sandbox says so, as for every `docker build` of the workbook, in BUILD_NETWORK.
    """
    return os.environ.get("BUILD_NETWORK") != "host"


def limits(memory: str, processes: str) -> list[str]:
    """Return the options for these limits, of those that the engine can hold.

    For another it would only print a warning.
    """
    can = _can_limit(os.environ.get("DOCKER_HOST", ""))
    return [*(("--memory", memory) if can[0] else ()), *(("--pids-limit", processes) if can[1] else ())]


@functools.cache
def _can_limit(_host: str) -> tuple[bool, bool]:
    found = call("info", "--format", "{{.MemoryLimit}} {{.PidsLimit}}").split()
    return found[0] == "true", found[-1] == "true"


def make_network(name: str, *labels: str) -> str:
    """Make a network with these labels and return its name; `host` where networks cannot be made."""
    chosen = [part for text in labels for part in ("--label", text)]
    try:
        call("network", "create", *chosen, name)
    except EngineFailed:
        return "host"
    return name


def socket() -> str:
    """Return the engine's socket on this machine.

    Raises:
        EngineFailed: when the engine is reached in another way; the builders need the socket.
    """
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        raise EngineFailed(f"builds need an engine on this machine, behind a socket; DOCKER_HOST is {host}")
    return host.removeprefix("unix://")


def program(name: str) -> Path | None:
    """Return a program on the sandbox's PATH, links resolved."""
    found = shutil.which(name)
    return Path(found).resolve() if found else None


def written(container: str) -> int:
    """Bytes that a running container has written outside its volumes."""
    text = call("ps", "--size", "--filter", f"name=^{container}$", "--format", "{{.Size}}").split(" ")[0]
    match = re.fullmatch(r"([\d.]+)([kMGT]?)B", text)
    return int(float(match[1]) * 1000 ** " kMGT".index(match[2] or " ")) if match else 0


def remove_all(filters: Sequence[str]) -> None:
    """Remove the containers, volumes and networks that carry all these labels. What is gone already is no error."""
    chosen = [part for text in filters for part in ("--filter", f"label={text}")]
    found = call("ps", "--all", "--quiet", *chosen).split()
    if found:
        _ignore_missing("rm", "--force", "--volumes", *found)
    volumes = call("volume", "ls", "--quiet", *chosen).split()
    if volumes:
        _ignore_missing("volume", "rm", "--force", *volumes)
    networks = call("network", "ls", "--quiet", *chosen).split()
    if networks:
        _ignore_missing("network", "rm", *networks)


def _ignore_missing(*arguments: str) -> None:
    try:
        call(*arguments)
    except EngineFailed as error:
        # Two removals of one container may meet; the second finds nothing, which is what it wanted.
        if "No such" not in str(error) and "already in progress" not in str(error):
            raise


def sweep(world: World) -> None:
    """Remove every container, volume and network of this world; skip the engine if it never created a container."""
    if not (world.folder / WORLD_ID).exists():
        return
    try:
        remove_all([label(world)])
    except EngineFailed:
        return
