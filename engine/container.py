"""One container: its configuration, root folder, process and state."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine import trees, users
from engine.errors import Refused, bad_request, conflict, not_found
from engine.jail import Bind, Means, Process
from engine.ports import Forward
from engine.roots import Roots
from engine.runs import Log, Run, now
from engine.store import Layer, Store

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEVER = "0001-01-01T00:00:00Z"


class Container:
    """A container of the store. Its folder holds `container.json`, `root/` and `log`."""

    def __init__(self, store: Store, roots: Roots, means: Means, about: dict[str, Any]) -> None:
        self._store, self._roots, self._means = store, roots, means
        self.about = about
        self.id: str = about["id"]
        self.lock = threading.RLock()
        self.ended = threading.Condition()
        self.folder = store.root / "containers" / self.id
        self.log = Log(self.folder / "log")
        self.run: Run | None = None
        self.execs: set[str] = set()
        self.forwards: dict[str, Forward] = {}
        self.health: dict[str, Any] | None = None
        self.starts = 0
        # Between `start`, and the end of a process that may come before `start` has returned.
        self._gate = threading.Lock()
        self._is_started = False
        self._early_ends: list[int] = []
        self.removed = False

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.about["name"])

    @property
    def runtime(self) -> str:
        """How processes get a root on this machine."""
        return self._means.name

    @property
    def config(self) -> dict[str, Any]:
        """The client's configuration, completed by the image's."""
        return dict(self.about["config"])

    @property
    def host(self) -> dict[str, Any]:
        """The client's HostConfig."""
        return dict(self.about["host"])

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.run is not None and not self.run.over.is_set()

    def save(self) -> None:
        """Replace `container.json` in one step."""
        self.folder.mkdir(exist_ok=True)
        part = self._store.temporary("container")
        part.write_text(json.dumps(self.about))
        part.replace(self.folder / "container.json")

    # ---- its tree

    def root(self) -> Path:
        """Return its root folder, which is made at the first call."""
        place: Path = self.folder / "root"
        with self.lock:
            if not place.exists():
                part = self._store.temporary("root")
                layers = [Layer(**layer) for layer in self.about["layers"]]
                self._roots.make(layers, part)
                self._own_files(part)
                self.about["base_size"] = tree_size(part)
                part.replace(place)
                self.save()
        return place

    def _own_files(self, root: Path) -> None:
        """Write the files of /etc that resolve names as on the machine, whose network the container uses."""
        etc = trees.resolve(root, "etc", last=True)
        etc.mkdir(parents=True, exist_ok=True)
        for name in ("resolv.conf", "hosts"):
            target = etc / name
            target.unlink(missing_ok=True)
            source = Path("/etc") / name
            target.write_bytes(source.read_bytes() if source.exists() else b"127.0.0.1\tlocalhost\n")
        add_hosts(etc / "hosts", self.host.get("ExtraHosts") or ())
        _change_names(etc / "resolv.conf", self.host)
        (etc / "hostname").unlink(missing_ok=True)
        (etc / "hostname").write_text(f"{self.config.get('Hostname') or self.id[:12]}\n")

    def binds(self) -> list[Bind]:
        """Return its bind mounts. A volume is bound by its folder."""
        found = []
        for mount in self.about["mounts"]:
            source = mount["Source"] if mount["Type"] == "bind" else str(volume(self._store, mount["Name"]))
            found.append(Bind(source, mount["Destination"], not mount["RW"]))
        return found

    def place(self, path: str) -> tuple[Path, str]:
        """Return where a path of the container is stored: a volume's folder or its root, and the path below that."""
        absolute = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
        for bind in sorted(self.binds(), key=lambda one: -len(one.target)):
            target = bind.target.rstrip("/")
            if absolute == target or absolute.startswith(f"{target}/"):
                return Path(bind.source), absolute[len(target) :]
        return self.root(), absolute

    # ---- its process

    def environment(self) -> dict[str, str]:
        """Return the environment of its processes."""
        found = {"PATH": PATH, "HOSTNAME": self.config.get("Hostname") or self.id[:12]}
        if self.config.get("Tty"):
            found["TERM"] = "xterm"
        return found | dict(one.split("=", 1) for one in self.config.get("Env") or [] if "=" in one)

    def process(
        self, argv: list[str], *, user: str, cwd: str, environment: dict[str, str], tty: bool, is_first: bool = True
    ) -> Process:
        """Return a process in its root. Raises Refused for an unknown user or program.

        As with Docker, the working directory of the first process is made if it is missing, and another's isn't.
        """
        root = self.root()
        found = users.find(root, user)
        more = users.groups(root, [str(one) for one in self.host.get("GroupAdd") or ()])
        binds = self.binds()
        tmpfs = sorted(self.host.get("Tmpfs") or {})
        for place in (*(bind.target for bind in binds), *tmpfs):
            self._target(root, place, binds)
        read_only = bool(self.host.get("ReadonlyRootfs"))
        way = self._means.way(Process(root, argv, {}, uid=found.uid, binds=binds, tmpfs=tmpfs, read_only=read_only))
        if way == "proot":
            binds = [*self._temporary(tmpfs), *binds]
            tmpfs = []
        place = trees.resolve(root, cwd, last=True)
        if not place.exists() and not any(cwd == b.target or cwd.startswith(f"{b.target}/") for b in binds):
            if not is_first:
                raise Refused(
                    f"{users.NO_TASK}unable to start container process: chdir to cwd ({json.dumps(cwd)}) set in "
                    "config.json failed: no such file or directory: unknown",
                    400,
                )
            place.mkdir(parents=True)
        failure = None
        try:
            users.program(root, argv[0], environment, cwd, [(bind.source, bind.target) for bind in binds])
        except Refused as error:
            if not (is_first and self.host.get("Init")):
                raise
            failure = _failure_below_init(argv[0], error)
        environment = {**environment, "HOME": environment.get("HOME") or found.home}
        ulimits = [(one["Name"], int(one["Soft"]), int(one["Hard"])) for one in self.host.get("Ulimits") or []]
        return Process(
            root, argv, environment, cwd, found.uid, found.gid, [*found.groups, *more], binds, tmpfs,
            read_only, tty, ulimits, failure,
        )  # fmt: skip

    def _temporary(self, places: list[str]) -> list[Bind]:
        found = []
        for number, place in enumerate(places):
            folder = self.folder / f"tmpfs-{number}"
            folder.mkdir(exist_ok=True)
            folder.chmod(0o1777)
            found.append(Bind(str(folder), place))
        return found

    def _target(self, root: Path, name: str, binds: list[Bind]) -> None:
        place = trees.resolve(root, name, last=True)
        if place.exists():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        source = next((Path(bind.source) for bind in binds if bind.target == name), None)
        if source is not None and not source.is_dir():
            place.touch()
        else:
            place.mkdir()

    def argv(self) -> list[str]:
        """Return the command line. Raises Refused where neither the client nor the image names one."""
        found = [*_listed(self.config.get("Entrypoint")), *_listed(self.config.get("Cmd"))]
        if not found:
            raise bad_request("No command specified")
        return found

    def start(self) -> None:
        """Start its process, unless it is running already. Raises Refused."""
        with self.lock:
            if self.running:
                return
            if self.removed:
                raise not_found(f"No such container: {self.id}")
            with self._gate:
                self._is_started = False
                self._early_ends.clear()
            try:
                process = self.process(
                    self.argv(),
                    user=self.config.get("User") or "",
                    cwd=self.config.get("WorkingDir") or "/",
                    environment=self.environment(),
                    tty=bool(self.config.get("Tty")),
                )
                self._publish()
                self.run = Run(
                    process,
                    self._means,
                    self.folder / "run",
                    self.log,
                    with_input=bool(self.config.get("OpenStdin")),
                    on_end=self._end,
                )
            except Refused as error:
                self._unpublish()
                self.about["state"] = {**self.about["state"], "ExitCode": _exit_code(error), "Error": str(error)}
                self.save()
                raise
            self.starts += 1
            with self._gate:
                self.about["state"] = {
                    "Status": "running",
                    "StartedAt": now(),
                    "FinishedAt": NEVER,
                    "ExitCode": 0,
                    "Error": "",
                }
                self._is_started = True
                for code in self._early_ends:
                    self._note_end(code)
            self.save()
        with self.ended:
            self.ended.notify_all()

    def _end(self, code: int) -> None:
        with self._gate:
            if not self._is_started:
                # The process ended before `start` has noted that it runs.
                self._early_ends.append(code)
                return
            self._note_end(code)
        if not self.removed and self.folder.exists():
            self.save()
        with self.ended:
            self.ended.notify_all()

    def _note_end(self, code: int) -> None:
        self._unpublish()
        self.about["state"] |= {"Status": "exited", "FinishedAt": now(), "ExitCode": code}

    def _publish(self) -> None:
        for key, wanted in self.published().items():
            port = int(key.partition("/")[0])
            if not wanted or int(wanted[0].get("HostPort") or 0) == port:
                continue  # the container listens on that port of the machine itself
            self.forwards[key] = Forward(
                wanted[0].get("HostIp") or "127.0.0.1", int(wanted[0].get("HostPort") or 0), port
            )

    def published(self) -> dict[str, list[dict[str, str]]]:
        """Return the ports to publish, and their addresses."""
        if self.host.get("NetworkMode") == "host":
            return {}
        found = {key: list(value or [{}]) for key, value in (self.host.get("PortBindings") or {}).items()}
        if self.host.get("PublishAllPorts"):
            found = {**{key: [{}] for key in self.config.get("ExposedPorts") or {}}, **found}
        return found

    def _unpublish(self) -> None:
        for one in self.forwards.values():
            one.close()
        self.forwards = {}

    def signal(self, number: int) -> None:
        """Send a signal to its process. Raises Refused if it isn't running."""
        if self.run is None or not self.running:
            raise conflict(f"Container {self.id} is not running")
        self.run.signal(number)

    def stop(self, seconds: int | None) -> bool:
        """Stop its process, by SIGKILL after a grace period. Return False if it wasn't running."""
        run = self.run
        if run is None or not self.running:
            return False
        run.signal(signal_number(self.config.get("StopSignal") or "SIGTERM"))
        wait = seconds if seconds is not None else int(self.config.get("StopTimeout") or 10)
        if not run.over.wait(None if wait < 0 else wait):
            run.kill()
        return True

    def kill(self) -> None:
        """Kill its process, if it is running."""
        if self.run is not None and self.running:
            self.run.kill()

    def delete(self) -> None:
        """Delete the folder of a container whose process has ended."""
        self.removed = True
        (self.folder / "container.json").unlink(missing_ok=True)
        self._store.give_up(self.folder)
        with self.ended:
            self.ended.notify_all()
        with self.log.changed:
            self.log.changed.notify_all()

    def is_over(self) -> bool:
        """Whether no more output can arrive."""
        return (
            self.removed or (self.run is not None and self.run.over.is_set()) or (self.run is None and self.starts > 0)
        )


def _exit_code(error: Refused) -> int:
    """Return the exit code that a shell reports for a program that can't run."""
    return 126 if "permission denied" in str(error) else 127


def _failure_below_init(program: str, error: Refused) -> tuple[str, int]:
    """Return the message and exit code of a container with `--init` whose program can't run.

    Such a container starts, and docker-init ends it. The message is that of tini 0.19 under Docker 20.10.
    """
    code = _exit_code(error)
    return f"exec {program} failed: {os.strerror(errno.EACCES if code == 126 else errno.ENOENT)}", code


def _listed(value: Any) -> list[str]:
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(one) for one in value]


def add_hosts(path: Path, entries: Iterable[str]) -> None:
    """Add the entries of `--add-host NAME:ADDRESS`. `host-gateway` is this machine, whose network containers share."""
    with path.open("a") as file:
        for text in entries:
            name, _, address = text.partition(":")
            file.write(f"{'127.0.0.1' if address == 'host-gateway' else address}\t{name}\n")


def _change_names(path: Path, host: Mapping[str, Any]) -> None:
    """Replace the machine's settings by those of `--dns`, `--dns-search` and `--dns-option`."""
    kinds = {"search": "DnsSearch", "nameserver": "Dns", "options": "DnsOptions"}
    if not any(host.get(name) for name in kinds.values()):
        return
    lines = path.read_text(errors="replace").splitlines()
    for word, name in kinds.items():
        values = [str(one) for one in host.get(name) or ()]
        if values:
            lines = [line for line in lines if line.split()[:1] != [word]]
            lines += [f"{word} {one}" for one in values] if word == "nameserver" else [f"{word} {' '.join(values)}"]
    path.write_text("\n".join(lines) + "\n")


def volume(store: Store, name: str) -> Path:
    """Return the folder that holds a volume's files."""
    return store.root / "volumes" / name / "_data"


def signal_number(text: str) -> int:
    """Return the number of a signal given by name or number. Raises Refused if there is no such signal."""
    name = str(text).upper()
    if name.isdigit() and 0 < int(name) < signal.NSIG:
        return int(name)
    found = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if not isinstance(found, signal.Signals):
        raise bad_request(f"Invalid signal: {text}")
    return int(found)


def tree_size(root: Path) -> int:
    """Return how many bytes the files of a tree hold."""
    total = 0
    for folder, _, files in os.walk(root):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total
