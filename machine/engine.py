"""Find or start a Docker Engine: one that answers, else a private dockerd, else the workbook's own engine.

An engine that was running already is used as it is, and never stopped. One that we start belongs to this repository:
see `machine.private_engine` for its files and its lifetime.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException
from docker.utils import kwargs_from_env
from requests.exceptions import RequestException

from machine import distribution, dockerd, private_engine, tools, unix_socket
from machine.errors import DockerCliMissing, EngineFailed, EngineMissing
from machine.private_engine import lease, release, was_made

DEFAULT_HOST = "unix:///var/run/docker.sock"
ANSWER_SECONDS = 3
CALL_SECONDS = 600
WANTED = "WORKBOOK_ENGINE"
# The platform name of the workbook's own engine.
EMBEDDED = "workbook engine"
CAP_SYS_ADMIN = 21
WAYS = (
    "Install Docker Engine and start it (Debian and Ubuntu: `sudo apt-get install docker.io`), "
    "or point DOCKER_HOST at an engine that runs."
)

__all__ = [
    "DockerCliMissing",
    "Engine",
    "EngineFailed",
    "EngineMissing",
    "build_network",
    "client",
    "connect",
    "ensure",
    "environment",
    "find",
    "kind",
    "lease",
    "release",
    "remove_labelled",
    "require_cli",
    "was_made",
]


@dataclass(frozen=True)
class Engine:
    """A Docker Engine that answers.

    `host` is what DOCKER_HOST must be to reach it. `private` says that this repository started it. Where `has_bridge`
    is false its containers have no network of their own: they run, and are built, on the host's. `embedded` says that
    it is the workbook's own engine.
    """

    host: str
    private: bool
    version: str
    has_bridge: bool
    embedded: bool = False


def find() -> Engine | None:
    """Return the engine that answers within 3 s, or None.

    With DOCKER_HOST set only that one is asked. Otherwise, in this order: the active docker context, the default
    socket, the private engine.
    """
    hosts = _candidates()
    for host in hosts:
        engine, _ = _ask(host)
        if engine is not None:
            return engine
    return None


def ensure(echo: Callable[[str], None]) -> Engine:
    """Return an engine that answers. If none does, start a private one, which root on Debian installs first.

    `echo` gets a line before anything is installed or started. The private engine isn't stopped while this process
    lives, or until it calls `release`; to keep it longer, take a lease.

    Raises EngineMissing where none answers and none can be started, EngineFailed where the private one doesn't start,
    and DockerCliMissing where there is an engine but no `docker` command.
    """
    reasons = []
    for host in _candidates():
        engine, reason = _ask(host)
        if engine is not None:
            if engine.private:
                lease(private_engine.starter_lease(), os.getpid())
            require_cli()
            return engine
        reasons.append(f"{host}: {reason}")
    chosen = os.environ.get("DOCKER_HOST", "")
    if chosen and chosen != private_engine.host() and wanted() != "embedded":
        raise EngineMissing(f"DOCKER_HOST is set, but {reasons[0]}. Start that engine, or unset DOCKER_HOST.")
    host = _start(echo, reasons)
    engine, reason = _ask(host)
    if engine is None:
        raise EngineFailed(f"The private Docker Engine started, then {reason}. Its log: {private_engine.log_path()}")
    return engine


def wanted() -> str:
    """Return the value of WORKBOOK_ENGINE: "docker", "embedded", or "" for any that can run here."""
    text = os.environ.get(WANTED, "")
    if text not in ("", "docker", "embedded"):
        raise EngineMissing(f"{WANTED} is {text!r}. Set it to docker or embedded, or unset it.")
    return text


def _start(echo: Callable[[str], None], reasons: list[str]) -> str:
    """Start a private dockerd if root may do so here, else the workbook's own engine, and return its address."""
    choice = wanted()
    refused: Exception | None = None
    if choice != "embedded":
        try:
            # For other users `_require_daemon` reports that only root can start one.
            if (choice == "" or os.geteuid() == 0) and (reason := _why_no_containers()):
                raise EngineMissing(f"{reason}, so no dockerd could run containers.{way_out_of_a_container()}")
            _require_daemon(echo, reasons)
            require_cli()
            return private_engine.start(echo)
        except (EngineMissing, EngineFailed) as error:
            if choice == "docker":
                raise
            refused = error
    if not tools.ensure("docker", echo):
        raise EngineMissing(f"{refused or ''} The workbook's own engine needs the `docker` command.".lstrip())
    if os.geteuid() != 0 or _why_no_containers():
        tools.ensure("proot", echo)
    if refused is not None:
        echo(f"No Docker Engine can be started here: {refused}")
    return private_engine.start(echo, embedded=True)


def _why_no_containers() -> str:
    """Return which right this process lacks that dockerd needs for containers, or "" if none is known."""
    status, mounts = Path("/proc/self/status"), Path("/proc/self/mounts")
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status.read_text(), re.MULTILINE) if status.exists() else None
    if found is not None and not int(found[1], 16) >> CAP_SYS_ADMIN & 1:
        return "this process may not mount"
    if mounts.exists() and control_groups_are_read_only(mounts.read_text()):
        return "control groups are read-only here"
    return ""


def control_groups_are_read_only(mounts: str) -> bool:
    """Return whether all mounts of control groups are read-only, given the text of /proc/mounts."""
    rows = [line.split() for line in mounts.splitlines()]
    options = [row[3].split(",") for row in rows if row[2] in ("cgroup", "cgroup2")]
    return bool(options) and all("ro" in one for one in options)


def way_out_of_a_container(root: Path = Path("/")) -> str:
    """Return advice for a learner if `root` is that of a container of Docker or Podman, else ""."""
    is_one = (root / ".dockerenv").exists() or (root / "run" / ".containerenv").exists()
    return " This is a container: start it with `--privileged` to have a Docker Engine in it." if is_one else ""


def client(engine: Engine | None = None) -> docker.DockerClient:
    """Return a client of the engine, or of the one that `find` finds. Raises EngineMissing when there is none."""
    engine = engine or find()
    if engine is None:
        raise EngineMissing(f"No Docker Engine answers. {WAYS}")
    return connect(engine.host, CALL_SECONDS)


def connect(host: str, seconds: int) -> docker.DockerClient:
    """Return a client of the engine at that address, whose calls take `seconds` at most."""
    settings = kwargs_from_env() if host == os.environ.get("DOCKER_HOST") else {"base_url": host}
    return docker.DockerClient(**settings, timeout=seconds, use_ssh_client=host.startswith("ssh://"))


def environment(engine: Engine) -> dict[str, str]:
    """Return the variables with which the `docker` command uses the engine, a builder and a network that work there.

    BuildKit where the command has its buildx component or the engine is Docker Desktop's, the classic builder
    elsewhere: without buildx the newer commands refuse BuildKit. BUILD_NETWORK is for `docker build --network`. A build
    leaves one manifest and no attestation, with every builder: by a variable, since the classic one refuses the option.
    """
    return {
        "DOCKER_HOST": engine.host,
        "DOCKER_BUILDKIT": "1" if not engine.embedded and _has_buildkit(engine) else "0",
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        "BUILD_NETWORK": build_network(engine) or "default",
    }


def kind(engine: Engine) -> str:
    """Return a description such as `containerd image store, BuildKit` or `overlay2, classic builder`."""
    with closing(connect(engine.host, ANSWER_SECONDS)) as connection:
        about = connection.info()
    containerd = ["driver-type", "io.containerd.snapshotter.v1"] in (about.get("DriverStatus") or [])
    store = "containerd image store" if containerd else str(about.get("Driver") or "unknown store")
    return f"{store}, {'BuildKit' if _has_buildkit(engine) else 'classic builder'}"


def build_network(engine: Engine) -> str | None:
    """Return the value for `docker build --network` and `docker run --network`: "host", or None for the default."""
    return None if engine.has_bridge else "host"


def remove_labelled(engine: Engine, label: str) -> None:
    """Remove the containers, volumes and networks with a label. Errors of the engine are ignored."""
    with closing(connect(engine.host, CALL_SECONDS)) as client, contextlib.suppress(DockerException, RequestException):
        for container in client.containers.list(all=True, ignore_removed=True, filters={"label": label}):
            container.remove(force=True, v=True)
        for volume in client.volumes.list(filters={"label": label}):
            volume.remove(force=True)
        for network in client.networks.list(filters={"label": label}):
            network.remove()


def require_cli() -> None:
    """Raise DockerCliMissing unless the `docker` command is on the PATH."""
    if shutil.which("docker") is None:
        raise DockerCliMissing(
            "A Docker Engine is there, but the `docker` command is not on the PATH. "
            "Install it (Debian and Ubuntu: the package docker-cli, or docker.io where there is no docker-cli)."
        )


def _candidates() -> list[str]:
    if wanted() == "embedded":
        return [private_engine.host()] if private_engine.is_embedded() else []
    chosen = os.environ.get("DOCKER_HOST", "")
    if chosen:
        return [chosen]
    hosts = [_context_host(), DEFAULT_HOST, private_engine.host()]
    return list(dict.fromkeys(host for host in hosts if host))


def _context_host() -> str:
    """Return the address of the active docker context, or "" without a docker command."""
    if shutil.which("docker") is None:
        return ""
    done = subprocess.run(
        ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _ask(host: str) -> tuple[Engine | None, str]:
    """Return the engine at an address and "", or None and the reason."""
    if host == private_engine.host() and (reason := private_engine.why_not_ours()):
        return None, reason
    if host.startswith("unix://"):
        reason = unix_socket.why_closed(host.removeprefix("unix://"))
        if reason:
            return None, reason
    try:
        with closing(connect(host, ANSWER_SECONDS)) as connection:
            about = connection.version()
            version = str(about["Version"])
            embedded = (about.get("Platform") or {}).get("Name") == EMBEDDED
            networks = connection.networks.list(filters={"driver": "bridge"})
    except (DockerException, RequestException, KeyError) as error:
        return None, f"no Docker Engine answers there ({type(error).__name__})"
    private = host == private_engine.host()
    has_bridge = any(network.name == "bridge" for network in networks)
    return Engine(host, private, version, has_bridge and (not private or private_engine.has_way_out()), embedded), ""


def _require_daemon(echo: Callable[[str], None], reasons: list[str]) -> None:
    asked = "No Docker Engine answers (" + "; ".join(reasons) + ")."
    if os.geteuid() != 0:
        raise EngineMissing(f"{asked} Only root can start one here. {WAYS}")
    if dockerd.program() is not None:
        return
    if os.environ.get("WORKBOOK_INSTALL_ENGINE") == "0":
        raise EngineMissing(f"{asked} WORKBOOK_INSTALL_ENGINE=0 forbids installing one. {WAYS}")
    if not distribution.is_debian_like():
        raise EngineMissing(f"{asked} This system is neither Debian nor Ubuntu, so none is installed. {WAYS}")
    distribution.install_docker(echo)
    if dockerd.program() is None:
        raise EngineMissing(f"{asked} docker.io is installed, yet there is no dockerd. {WAYS}")


def _has_buildkit(engine: Engine) -> bool:
    with closing(connect(engine.host, ANSWER_SECONDS)) as connection:
        # Podman speaks Docker's API without BuildKit: buildx would fetch a builder of its own from Docker Hub.
        if any(str(one.get("Name", "")).startswith("Podman") for one in connection.version().get("Components") or []):
            return False
        if _has_buildx():
            return True
        return bool(connection.info().get("OperatingSystem") == "Docker Desktop")


def _has_buildx() -> bool:
    done = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return done.returncode == 0
