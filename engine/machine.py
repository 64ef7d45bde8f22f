"""The containers and volumes of a store."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from engine import fields, health, jail, trees
from engine.container import NEVER, Container, signal_number, volume
from engine.errors import Refused, bad_request, conflict, not_found
from engine.roots import Roots
from engine.runs import Log, Run, now
from engine.store import Store, remove_tree

_ADJECTIVES = ("calm", "clever", "eager", "gentle", "happy", "keen", "lucid", "quiet", "steady", "vivid")
_NOUNS = ("curie", "darwin", "euler", "gauss", "hopper", "kepler", "lovelace", "noether", "turing", "volta")
_NO_LIMIT = "Your kernel does not support {} limit capabilities or the cgroup is not mounted. Limitation discarded."


class Machine:
    """The containers and volumes of a store."""

    def __init__(self, store: Store, means: jail.Means) -> None:
        self.store, self.means = store, means
        self.roots = Roots(store)
        self.containers: dict[str, Container] = {}
        self.execs: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        for folder in sorted((store.root / "containers").iterdir()):
            try:
                about = json.loads((folder / "container.json").read_text())
            except (OSError, ValueError):
                remove_tree(folder)
                continue
            if about["state"]["Status"] == "running":
                # Its launcher killed it when the previous engine ended.
                about["state"] |= {"Status": "exited", "ExitCode": 137, "FinishedAt": now()}
            if about["host"].get("AutoRemove"):
                remove_tree(folder)
                continue
            found = Container(store, self.roots, means, about)
            found.starts = int(about["state"]["Status"] != "created")
            self.containers[found.id] = found

    def find(self, name: str) -> Container:
        """Return a container by its id, the beginning of its id, or its name. Raises Refused."""
        with self.lock:
            if name in self.containers:
                return self.containers[name]
            plain = name.removeprefix("/")
            for one in self.containers.values():
                if one.name == plain:
                    return one
            matches = [one for key, one in self.containers.items() if len(name) >= 2 and key.startswith(name)]
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise bad_request(f"Multiple IDs found with provided prefix: {name}")
        raise not_found(f"No such container: {name}")

    def create(self, name: str, body: dict[str, Any], platform: str = "") -> tuple[Container, list[str]]:
        """Make a container and return it with the warnings about discarded options.

        Raises Refused, also for an image of another platform.
        """
        host = dict(body.get("HostConfig") or {})
        fields.check(body)
        key = self.store.get(body.get("Image") or "")
        document = self.store.config(key)
        actual = f"{document.get('os', 'linux')}/{document.get('architecture', 'amd64')}"
        # linux/arm64/v8 is a variant of linux/arm64, not another platform.
        if platform and not f"{platform}/".startswith(f"{actual}/"):
            raise not_found(
                f"image with reference {body.get('Image')} was found but does not match the specified platform: "
                f"wanted {platform}, actual: {actual}"
            )
        image = document.get("config") or {}
        config = _merged({k: v for k, v in body.items() if k not in ("HostConfig", "NetworkingConfig")}, image)
        if config["StopSignal"]:
            signal_number(config["StopSignal"])
        identity = secrets.token_hex(32)
        config["Hostname"] = config.get("Hostname") or identity[:12]
        warnings = self._warnings(host, config)
        with self.lock:
            taken = {one.name: one.id for one in self.containers.values()}
            name = name.removeprefix("/")
            while not name:
                picked = f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_NOUNS)}{secrets.randbelow(1000)}"
                name = "" if picked in taken else picked
            if name in taken:
                raise conflict(
                    f'Conflict. The container name "/{name}" is already in use by container "{taken[name]}". '
                    "You have to remove (or rename) that container to be able to reuse that name."
                )
            if not all(char.isalnum() or char in "_.-" for char in name) or not name[0].isalnum() or len(name) < 2:
                raise bad_request(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            about = {
                "id": identity,
                "name": name,
                "created": now(),
                "image": key,
                "layers": [vars(layer) for layer in self.store.images[key].layers],
                "config": config,
                "host": host,
                "mounts": self._mounts(host, config),
                "state": {"Status": "created", "StartedAt": NEVER, "FinishedAt": NEVER, "ExitCode": 0, "Error": ""},
            }
            made = Container(self.store, self.roots, self.means, about)
            made.save()
            self.containers[identity] = made
        return made, warnings

    def _warnings(self, host: dict[str, Any], config: dict[str, Any]) -> list[str]:
        found = []
        limits = [kind for name, kind in fields.DISCARDED.items() if host.get(name) not in (None, "", 0, -1)]
        found += [_NO_LIMIT.format(kind) for kind in dict.fromkeys(limits)]
        if any(host.get(name) for name in fields.CAPABILITIES):
            found.append("This engine changes no capabilities and has no security options. They are discarded.")
        bound = config.get("Volumes") or any(host.get(name) for name in ("Binds", "Mounts", "Tmpfs", "ReadonlyRootfs"))
        binds = [jail.Bind("/", "/")] if bound else []
        # Both kinds of users: which one it is, is known only when the container starts.
        ways = {self.means.way(jail.Process(Path("/"), [], {}, uid=uid, binds=binds)) for uid in (0, 1)}
        if host.get("ReadonlyRootfs") and "proot" in ways:
            found.append("This engine can't make a root file system read-only here. The option is discarded.")
        if host.get("GroupAdd") and ways != {"chroot"}:
            found.append("This engine can give a process no further groups here. The option is discarded.")
        return found

    def _mounts(self, host: dict[str, Any], config: dict[str, Any]) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for text in host.get("Binds") or []:
            source, colon, rest = text.partition(":")
            if not colon:
                # A path alone is an anonymous volume, which is deleted with its container.
                found[text] = self._mount(secrets.token_hex(32), text, writable=True, make=False, own=True)
                continue
            target, _, mode = rest.partition(":")
            found[target] = self._mount(source, target, writable="ro" not in mode.split(","), make=True)
        for one in host.get("Mounts") or []:
            if one.get("Type") == "tmpfs":
                host["Tmpfs"] = {**(host.get("Tmpfs") or {}), one["Target"]: ""}
                continue
            if one.get("Type") == "bind" and not Path(one.get("Source", "")).exists():
                raise bad_request(
                    'invalid mount config for type "bind": bind source path does not exist: ' + one.get("Source", "")
                )
            found[one["Target"]] = self._mount(
                one.get("Source") or secrets.token_hex(32), one["Target"], writable=not one.get("ReadOnly"), make=False
            )
        for target in config.get("Volumes") or {}:
            if target not in found:
                found[target] = self._mount(secrets.token_hex(32), target, writable=True, make=False, own=True)
        return list(found.values())

    def _mount(self, source: str, target: str, *, writable: bool, make: bool, own: bool = False) -> dict[str, Any]:
        if not target.startswith("/"):
            raise bad_request(f"invalid volume specification: '{source}:{target}'")
        common = {"Destination": target, "Mode": "" if writable else "ro", "RW": writable, "Propagation": ""}
        if source.startswith("/"):
            if make and not Path(source).exists():
                Path(source).mkdir(parents=True)
            return {"Type": "bind", "Source": source, **common, "Propagation": "rprivate"}
        self.make_volume(source, {}, anonymous=own)
        return {
            "Type": "volume",
            "Name": source,
            "Source": str(volume(self.store, source)),
            "Driver": "local",
            **common,
        }

    # ---- volumes

    def make_volume(self, name: str, labels: dict[str, str], *, anonymous: bool = False) -> dict[str, Any]:
        """Return a volume, which is made if it is missing. Raises Refused for an invalid name."""
        if not name or not all(char.isalnum() or char in "_.-" for char in name) or not name[0].isalnum():
            raise bad_request(
                f'create {name}: "{name}" includes invalid characters for a local volume name, only '
                '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
            )
        folder = self.store.root / "volumes" / name
        with self.lock:
            if not (folder / "volume.json").exists():
                volume(self.store, name).mkdir(parents=True, exist_ok=True)
                about = {"Labels": labels or None, "CreatedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
                (folder / "volume.json").write_text(json.dumps({**about, "anonymous": anonymous}))
        return self.volume(name)

    def volume(self, name: str) -> dict[str, Any]:
        """Return a volume as the API describes it. Raises Refused if it is missing."""
        try:
            about = json.loads((self.store.root / "volumes" / name / "volume.json").read_text())
        except OSError:
            raise not_found(f"get {name}: no such volume") from None
        about.pop("anonymous", None)
        place = str(volume(self.store, name))
        return {**about, "Driver": "local", "Mountpoint": place, "Name": name, "Options": None, "Scope": "local"}

    def volumes(self) -> list[dict[str, Any]]:
        """Return all volumes."""
        found = []
        for folder in sorted((self.store.root / "volumes").iterdir()):
            with contextlib.suppress(Refused):
                found.append(self.volume(folder.name))
        return found

    def volume_users(self, name: str) -> list[str]:
        """Return the ids of the containers that use a volume."""
        with self.lock:
            return [
                one.id for one in self.containers.values() if any(m.get("Name") == name for m in one.about["mounts"])
            ]

    def remove_volume(self, name: str, *, force: bool = False) -> None:
        """Delete a volume. Raises Refused if it is missing or in use."""
        with self.lock:
            try:
                self.volume(name)
            except Refused:
                if force:
                    return
                raise
            users = self.volume_users(name)
            if users:
                raise conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            self.store.give_up(self.store.root / "volumes" / name)

    # ---- life

    def start(self, one: Container) -> None:
        """Start a container and its health checks. With AutoRemove, delete it when it ends. Raises Refused."""
        try:
            mode = one.host.get("NetworkMode") or "default"
            if mode not in ("default", "bridge", "host") and not mode.startswith("container:"):
                raise not_found(f"network {mode} not found")
            self._fill_volumes(one)
            one.start()
        except Refused:
            if one.host.get("AutoRemove"):
                self.remove(one, force=True, volumes=True)
            raise
        run = one.run
        if run is None:
            return
        health.watch(self, one, run)
        if one.host.get("AutoRemove"):
            threading.Thread(target=self._remove_later, args=(one, run), daemon=True).start()

    def _fill_volumes(self, one: Container) -> None:
        """Copy the image's files at a volume's mount point into the volume if it is empty, as Docker does."""
        for mount in one.about["mounts"]:
            if mount["Type"] != "volume":
                continue
            folder = volume(self.store, mount["Name"])
            folder.mkdir(parents=True, exist_ok=True)
            source = trees.resolve(one.root(), mount["Destination"], last=True)
            if source.is_dir() and not any(folder.iterdir()) and any(source.iterdir()):
                shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True)

    def _remove_later(self, one: Container, run: Run) -> None:
        run.over.wait()
        with contextlib.suppress(Refused):
            self.remove(one, force=True, volumes=True)

    def remove(self, one: Container, *, force: bool, volumes: bool) -> None:
        """Delete a container. Raises Refused if it is running, unless forced."""
        with one.lock:
            if one.running:
                if not force:
                    raise conflict(
                        f"You cannot remove a running container {one.id}. Stop the container before attempting removal "
                        "or force remove"
                    )
                one.kill()
            # Taken off the list first: a client that waits for the removal looks there next.
            with self.lock:
                self.containers.pop(one.id, None)
            one.delete()
        if volumes:
            for mount in one.about["mounts"]:
                if mount["Type"] == "volume" and len(mount["Name"]) == 64:
                    with contextlib.suppress(Refused):
                        self.remove_volume(mount["Name"])

    def execute(self, one: Container, body: dict[str, Any], log: Log, folder: Path) -> Run:
        """Start a further process in a running container. Raises Refused."""
        if not one.running:
            raise conflict(f"Container {one.id} is not running")
        process = one.process(
            [str(part) for part in body["Cmd"]],
            user=body.get("User") or one.config.get("User") or "",
            cwd=body.get("WorkingDir") or one.config.get("WorkingDir") or "/",
            environment=one.environment() | dict(e.split("=", 1) for e in body.get("Env") or [] if "=" in e),
            tty=bool(body.get("Tty")),
            is_first=False,
        )
        started = Run(
            process, self.means, folder, log, with_input=bool(body.get("AttachStdin")), on_end=lambda _code: None
        )
        threading.Thread(target=_end_with, args=(one, started), daemon=True).start()
        return started

    def close(self) -> None:
        """Kill every container."""
        for one in list(self.containers.values()):
            with contextlib.suppress(Refused):
                one.kill()


def _end_with(one: Container, started: Run) -> None:
    while not started.over.wait(0.5):
        if not one.running:
            started.kill()
            return


def _merged(config: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """Complete a client's configuration by the image's."""
    named = {one.partition("=")[0] for one in config.get("Env") or []}
    added = [one for one in image.get("Env") or [] if one.partition("=")[0] not in named]
    config["Env"] = [*(config.get("Env") or []), *added] or None
    config["Labels"] = {**(image.get("Labels") or {}), **(config.get("Labels") or {})}
    entrypoint = config.get("Entrypoint")
    if entrypoint is None:
        config["Entrypoint"] = image.get("Entrypoint")
        if not config.get("Cmd"):
            config["Cmd"] = image.get("Cmd")
    elif entrypoint == [""]:
        config["Entrypoint"] = None
    for name in ("User", "WorkingDir", "StopSignal"):
        config[name] = config.get(name) or image.get(name) or ""
    config["Healthcheck"] = config.get("Healthcheck") or image.get("Healthcheck")
    config["ExposedPorts"] = {**(image.get("ExposedPorts") or {}), **(config.get("ExposedPorts") or {})}
    config["Volumes"] = {**(image.get("Volumes") or {}), **(config.get("Volumes") or {})} or None
    return config
