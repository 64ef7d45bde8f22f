"""Run the `docker` command for build steps and services, without any of the user's settings.

The engine is that of the sandbox's own environment (`DOCKER_HOST`). Everything that is made here has the world's label,
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
# Variables that the docker command itself or its Go runtime reads.
_COMMANDS_OWN = re.compile(
    r"PATH|HOME|LC_.*|LANG|DOCKER_.*|BUILDKIT_.*|.*_(PROXY|proxy)|SSL_CERT_.*|GO[A-Z0-9]+|XDG_.*|TMPDIR"
)
_naming = threading.Lock()


class EngineFailed(Exception):
    """The engine does not answer, or refused; the text is its message."""


@dataclass(frozen=True)
class Address:
    """The ports of this world on loopback: the plain port and the edge.

    Attributes:
        google_urls: whether deployed services have Google's own addresses, which only the edge serves.
    """

    port: int
    edge: int
    google_urls: bool = False

    @property
    def registry(self) -> str:
        """The prefix of Google's registry names for docker."""
        return f"localhost:{self.port}"


def address(world: World) -> Address:
    """Read the ports from `sandbox.json`, which exists while the sandbox serves.

    Raises:
        EngineFailed: if the world is not served; jobs cannot run then.
    """
    try:
        about = json.loads((world.folder.parent / "sandbox.json").read_text())
        return Address(int(about["port"]), int(about["edge_port"]), bool(about.get("google_urls")))
    except (OSError, ValueError, KeyError):
        raise EngineFailed("the sandbox is not serving, so no container could reach it") from None


def world_id(world: World) -> str:
    """Return the id of this world on an engine: random, and kept as long as the world.

    The folder's path would not be unique: two containers that share an engine may have worlds at the same path.
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
    """Return the label `workbook-world=…`, the same at every start of this world; makes the id if necessary."""
    return f"{LABEL}={world_id(world)}"


def host_environment(config: Path | None = None) -> dict[str, str]:
    """Return the environment of a docker command: the engine's address and none of the user's settings."""
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
    """Run a docker command to its end and return its output.

    Args:
        environment: additional variables of the command.

    Raises:
        EngineFailed: if the command is missing, fails, or takes too long.
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
    """Call `docker run …` with variables that no command line shows, since they may be secrets.

    They are passed as a file on the command's standard input. A value that does not fit into a line of such a file is
    passed in the command's own environment, which only its user can read.

    Raises:
        EngineFailed: as `call`; also for a value of several lines under a name that the command itself reads.
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
    """Start a docker command whose output is read while it runs, together with its errors."""
    return subprocess.Popen(
        ["docker", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=host_environment(config),
        start_new_session=True,
    )


def write_config(folder: Path, registry: str, token: str) -> None:
    """Write a docker configuration with one registry and one token."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    entry = base64.b64encode(f"oauth2accesstoken:{token}".encode()).decode()
    handle = os.open(folder / "config.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump({"auths": {registry: {"auth": entry}}}, file)


def image_digest(name: str) -> str:
    """Return the manifest digest of an image on the engine, or its id if it was made there; empty if it is missing."""
    form = "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}"
    try:
        return call("image", "inspect", "--format", form, name).strip().rpartition("@")[2]
    except EngineFailed:
        return ""


def has_image(name: str) -> bool:
    """Return whether the engine has an image with this name."""
    try:
        call("image", "inspect", "--format", "{{.Id}}", name)
    except EngineFailed:
        return False
    return True


def is_running(container: str) -> bool:
    """Return whether a container runs.

    Raises:
        EngineFailed: if the engine does not answer.
    """
    found = call("ps", "--all", "--no-trunc", "--filter", f"id={container}", "--format", "{{.State}}")
    return found == "running"


def base_image() -> str:
    """Return an image with a shell and Python for builders that cannot be pulled; empty if there is none."""
    found = call("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", STAND_IN).splitlines()
    if found:
        return sorted(found)[-1]
    return PUBLIC_BASE if has_image(PUBLIC_BASE) else ""


def has_bridge() -> bool:
    """Return whether containers have a network of their own; on an engine without one they share the machine's.

    BUILD_NETWORK says so, as for every `docker build` of the workbook.
    """
    return os.environ.get("BUILD_NETWORK") != "host"


def limits(memory: str, processes: str) -> list[str]:
    """Return the options for these limits, without those that the engine would only warn about."""
    can = _can_limit(os.environ.get("DOCKER_HOST", ""))
    return [*(("--memory", memory) if can[0] else ()), *(("--pids-limit", processes) if can[1] else ())]


@functools.cache
def _can_limit(_host: str) -> tuple[bool, bool]:
    found = call("info", "--format", "{{.MemoryLimit}} {{.PidsLimit}}").split()
    return found[0] == "true", found[-1] == "true"


def make_network(name: str, *labels: str) -> str:
    """Make a network with these labels and return its name; `host` if the engine can make none."""
    chosen = [part for text in labels for part in ("--label", text)]
    try:
        call("network", "create", *chosen, name)
    except EngineFailed:
        return "host"
    return name


def socket() -> str:
    """Return the engine's socket on this machine.

    Raises:
        EngineFailed: if the engine has another kind of address; the builders need the socket.
    """
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        raise EngineFailed(f"builds need an engine on this machine, behind a socket; DOCKER_HOST is {host}")
    return host.removeprefix("unix://")


def program(name: str) -> Path | None:
    """Return the path of a program on the sandbox's PATH, with links resolved."""
    found = shutil.which(name)
    return Path(found).resolve() if found else None


def written(container: str) -> int:
    """Return how many bytes a running container has written outside its volumes."""
    text = call("ps", "--size", "--filter", f"name=^{container}$", "--format", "{{.Size}}").split(" ")[0]
    match = re.fullmatch(r"([\d.]+)([kMGT]?)B", text)
    return int(float(match[1]) * 1000 ** " kMGT".index(match[2] or " ")) if match else 0


def remove_all(filters: Sequence[str]) -> None:
    """Remove the containers, volumes and networks that have all these labels; ignores those that are gone already."""
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
        # Another removal of the same container may have been faster.
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
