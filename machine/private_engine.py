"""A private Docker Engine, separate from the system's, which runs for as long as a process holds a lease on it.

Data, log and leases live in the engine's home (`.sandbox/engine`, or WORKBOOK_ENGINE_HOME):

    data/          images and containers        dockerd.log    its output
    leases/        its users: NAME.json         lock           held during each start and stop

Sockets and pids live in `/tmp/workbook-engine-XXXXXXXX/`, because a socket's path may have 107 bytes at most. The X are
the hash of the home, so each clone of the repository finds its own engine.

The engine has a bridge, `wb-XXXXXXXX` (see `machine.bridge` for why it isn't docker0). If the machine allows no bridge,
or no firewall rules for it, containers use the host's network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from machine import bridge, dockerd, locks, processes, unix_socket
from machine import leases as leases_of
from machine.errors import EngineFailed

START_SECONDS = 30
CONTAINERD_PID = "exec/containerd/containerd.pid"


def home() -> Path:
    """Return the folder of the engine's data, log and leases. Absolute; it may not exist yet."""
    chosen = os.environ.get("WORKBOOK_ENGINE_HOME")
    return Path(chosen).resolve() if chosen else Path(__file__).resolve().parents[1] / ".sandbox" / "engine"


def host() -> str:
    """Return the value of DOCKER_HOST for the private engine, whether it runs or not."""
    return f"unix://{_run_folder()}/docker.sock"


def has_way_out() -> bool:
    """Tell whether the private engine's containers can reach the network over its bridge."""
    return not _host_network_mark().exists()


def bridge_name() -> str:
    """Return the name of the private engine's bridge. It exists for as long as the engine runs."""
    return f"wb-{_digest()}"


def log_path() -> Path:
    """Return the path of the daemon's log. It holds the last start only."""
    return home() / "dockerd.log"


def was_made() -> bool:
    """Tell whether a private engine was ever started here, so that its data is there."""
    return (home() / "data").is_dir()


def start(echo: Callable[[str], None], *, embedded: bool = False) -> str:
    """Start the private engine, if it doesn't run yet, and return its host. It takes about a second.

    `embedded` starts the workbook's own (the package `engine`) instead of a dockerd. A running one of the other kind is
    stopped.

    This process holds a lease on it until it ends or calls `release`. Raises EngineFailed with the log's last lines.
    """
    with _locked():
        _require_ours()
        leases_of.write(_leases(), starter_lease(), os.getpid())
        if _answers_yet(embedded):
            return host()
        if embedded:
            _start_embedded(echo)
            return host()
        echo(f"Starting a private Docker Engine (data in {home() / 'data'}), about 2 s.")
        _stop_daemon()
        name = bridge_name()
        try:
            # Without the privilege to make a bridge, dockerd has none to delete docker0 either.
            bridged = bridge.make(name)
            _launch(f"--bridge={name}" if bridged else "--bridge=none")
            if not (bridged and bridge.open_way_out(name, _subnet(), path=dockerd.search_path())):
                echo("This machine allows no bridge: containers use the host's network.")
                _host_network_mark().touch()
        except BaseException:
            # Also after a Ctrl-C, so that no engine is left running.
            leases_of.drop(_leases(), starter_lease())
            _stop_daemon()
            raise
        return host()


def _answers_yet(embedded: bool) -> bool:
    """Return whether an engine of that kind runs and answers.

    Wait for one that is slow, since a restart would end its containers.
    """
    deadline = time.monotonic() + START_SECONDS
    while (pid := _pid()) is not None and is_embedded() == embedded and time.monotonic() < deadline:
        if _answers():
            return True
        processes.wait_gone(pid, 0.05)
    return False


def is_embedded() -> bool:
    """Tell whether the private engine that runs is the workbook's own."""
    pid = _pid()
    return pid is not None and "engine" in processes.command_line(pid)


def _start_embedded(echo: Callable[[str], None]) -> None:
    echo(
        f"Starting the workbook's own container engine (data in {home() / 'embedded'}), since no Docker Engine can run "
        "here. It lacks: isolation between containers, limits of memory and processes, networks but this machine's."
    )
    _stop_daemon()
    run = _made_run_folder()
    data = home() / "embedded"
    data.mkdir(parents=True, exist_ok=True)
    arguments = ["-m", "engine", f"--socket={run}/docker.sock", f"--root={data}", f"--pidfile={run}/docker.pid"]
    _wait_for(dockerd.spawn_program([sys.executable, *arguments], log_path()), "The workbook's engine")
    _host_network_mark().touch()


def stop() -> bool:
    """Stop the private engine in spite of leases, and return whether it ran. No other engine is stopped."""
    with _locked():
        return _stop_daemon()


def starter_lease() -> str:
    """Return the name of the lease that `start` takes for the process that calls it."""
    return f"starter-{os.getpid()}"


def lease(name: str, pid: int) -> None:
    """Keep the private engine running for as long as process `pid` lives, or until `release(name)`.

    A lease of the same name is replaced. Raises ValueError for a name that isn't letters, digits, dots and dashes.
    """
    with _locked():
        leases_of.write(_leases(), name, pid)


def release(name: str) -> bool:
    """Give up a lease and the one that `start` took, and return whether that stopped the engine.

    The engine stops when no living process holds a lease. Unknown names are ignored.
    """
    with _locked():
        for gone in (name, starter_lease()):
            leases_of.drop(_leases(), gone)
        if leases():
            return False
        return _stop_daemon()


def leases() -> dict[str, int]:
    """Return the pids of living processes that hold a lease, by name. Delete the leases of dead ones."""
    return leases_of.living(_leases())


def _leases() -> Path:
    return home() / "leases"


def _digest() -> str:
    return hashlib.sha256(str(home()).encode()).hexdigest()[:8]


def _run_folder() -> Path:
    return Path("/tmp") / f"workbook-engine-{_digest()}"  # noqa: S108 - TMPDIR may be long, and differ between shells


def why_not_ours() -> str:
    """Return why the socket at `host()` can't be trusted, or "".

    Any user may write in /tmp and can derive the folder's name, and so could make it first and impersonate the engine.
    """
    folder, named = _run_folder(), _run_folder() / "docker.sock"
    try:
        about = folder.lstat()
    except FileNotFoundError:
        return ""
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
        return f"{folder} belongs to somebody else: remove it, then try again"
    try:
        about = named.lstat()
    except FileNotFoundError:
        return ""
    if not stat.S_ISSOCK(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o002:
        return f"{named} is not a socket of ours: remove {folder}, then try again"
    return ""


def _require_ours() -> None:
    if reason := why_not_ours():
        raise EngineFailed(f"{reason[0].upper()}{reason[1:]}.")


def _made_run_folder() -> Path:
    """Return the folder of sockets, made if it is missing, after checking that it is ours."""
    folder = _run_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    _require_ours()
    return folder


@contextmanager
def _locked() -> Iterator[None]:
    with locks.held(home() / "lock"):
        yield


def _subnet() -> str:
    with closing(docker.DockerClient(base_url=host(), timeout=3)) as connection:
        return str(connection.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"])


def _host_network_mark() -> Path:
    return _run_folder() / "host-network"


def _launch(network: str) -> None:
    """Start dockerd and wait until it answers. Raises EngineFailed when it ends before, or doesn't within 30 s."""
    run = _made_run_folder()
    (home() / "data").mkdir(parents=True, exist_ok=True)
    # Otherwise dockerd reads the system's configuration file.
    (home() / "config.json").write_text("{}\n")
    arguments = [f"--pidfile={run}/docker.pid", f"--config-file={home()}/config.json", f"--exec-root={run}/exec"]
    arguments += [f"--data-root={home()}/data", f"--host={host()}", network, "--iptables=false", "--ip6tables=false"]
    _wait_for(dockerd.spawn(arguments, log_path()), "The private Docker Engine")


def _wait_for(pid: int, name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0] != 0:
            raise EngineFailed(f"{name} ended at once. Its log, {log_path()}, ends:\n{_log_tail()}")
        if _answers():
            return
        time.sleep(0.05)
    raise EngineFailed(f"{name} gave no answer in {START_SECONDS} s. Its log: {log_path()}")


def _pid() -> int | None:
    """Return the pid of our daemon if it runs, even if it hasn't written its pid file yet."""
    pidfile = _run_folder() / "docker.pid"
    return dockerd.written_pid(pidfile, _run_folder()) or processes.with_arguments(f"--pidfile={pidfile}")


def _stop_daemon() -> bool:
    """Stop our daemon, clean up after it, and return whether it ran.

    A kill can leave a pid file that blocks the next start, and a containerd that ends a moment later, which the next
    dockerd would try to use.
    """
    if why_not_ours():
        return False
    run = _run_folder()
    ran = dockerd.end(_pid())
    dockerd.end(dockerd.written_pid(run / CONTAINERD_PID, run))
    for path in (run / "docker.pid", run / CONTAINERD_PID, run / "docker.sock", _host_network_mark()):
        path.unlink(missing_ok=True)
    bridge.remove(bridge_name(), path=dockerd.search_path())
    dockerd.unmount(home() / "data", run / "exec" / "netns")
    # After a kill the next dockerd needs these files to clean up, and a container may still be mounted there.
    if ran and f" {run}/" not in Path("/proc/mounts").read_text():
        shutil.rmtree(run, ignore_errors=True)
    return ran


def _answers() -> bool:
    if why_not_ours() or unix_socket.why_closed(str(_run_folder() / "docker.sock")):
        return False
    try:
        with closing(docker.DockerClient(base_url=host(), timeout=3)) as connection:
            return bool(connection.ping())
    except (DockerException, RequestException):
        return False


def _log_tail() -> str:
    lines = log_path().read_text(errors="replace").splitlines() if log_path().exists() else []
    return "\n".join(lines[-5:])
