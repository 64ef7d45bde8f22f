"""The instance of each revision: a container that is started at deployment, and again by a call after a pause.

Google starts many instances, the sandbox one. A revision's image is the digest that its tag had at deployment. The
engine keeps it under a name that belongs to the revision, as Cloud Run keeps its own copy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox import containers
from sandbox.artifact_registry import image_names
from sandbox.cloud_logging import entries
from sandbox.cloud_run import probes, secret_env, store
from sandbox.containers import EngineFailed
from sandbox.iam import standing, tokens
from sandbox.iam.members import RUN_AGENT
from sandbox.redaction import redact
from sandbox.state import projects
from sandbox.state.world import World

PORT = 8080
CONNECT_SECONDS = 10.0
# Google keeps an idle instance up to 15 minutes: https://cloud.google.com/run/docs/about-instance-autoscaling
IDLE_SECONDS = float(os.environ.get("WORKBOOK_IDLE_SECONDS", "300"))
_STATE = "{{.State.Running}} {{json .NetworkSettings.Ports}}"
log = logging.getLogger("sandbox")


class NotStarted(Exception):
    """A container that did not start. The message is Cloud Run's."""


@dataclass
class Instance:
    """A running container, with the address that it listens on and the account whose rights it has."""

    container: str
    address: tuple[str, int]
    account: str
    used: float
    busy: int = 0


@dataclass(frozen=True)
class Connected:
    """One request's connection to a container, closed with the request."""

    container: str
    connection: socket.socket


class Instances:
    """The instances of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running: dict[str, Instance] = {}
        self._lock = threading.Lock()
        self._starting: dict[str, threading.Lock] = {}
        self._reaper: threading.Thread | None = None
        self._closed = threading.Event()

    @contextlib.contextmanager
    def use(self, name: str, revision: dict[str, Any]) -> Iterator[Connected]:
        """Yield a connection to a revision's instance for one request. Start the instance if it does not run.

        Raises:
            NotStarted: if its container does not start.
            SecretRefused: if a secret of its environment cannot be read.
            EngineFailed: if the engine does not answer.
            OSError: if a running container does not accept the connection.
        """
        instance, connection = self._connect(name, revision)
        with self._lock:
            instance.busy += 1
        try:
            with connection:
                yield Connected(instance.container, connection)
        finally:
            with self._lock:
                instance.busy -= 1
                instance.used = time.monotonic()

    def _connect(self, name: str, revision: dict[str, Any]) -> tuple[Instance, socket.socket]:
        instance = self.ensure(name, revision)
        try:
            return instance, socket.create_connection(instance.address, timeout=CONNECT_SECONDS)
        except OSError:
            # A running container with a full backlog may still serve other calls. Only drop one that has ended.
            if containers.is_running(instance.container):
                raise
        self._drop(name, instance)
        instance = self.ensure(name, revision)
        return instance, socket.create_connection(instance.address, timeout=CONNECT_SECONDS)

    def ensure(self, name: str, revision: dict[str, Any]) -> Instance:
        """Return a revision's instance. Start it if it does not run.

        Raises:
            NotStarted: if its container does not start.
            SecretRefused: if a secret of its environment cannot be read.
            EngineFailed: if the engine does not answer.
        """
        with self._lock:
            gate = self._starting.setdefault(name, threading.Lock())
        with gate:
            found = self._running.get(name)
            if found is not None:
                return found
            started = self._start(name, revision)
            with self._lock:
                # A call that deleted the revision or the account meanwhile did not find this instance.
                ended = self._ended(name, started.account)
                if not ended:
                    self._running[name] = started
                if self._reaper is None:
                    self._reaper = threading.Thread(target=self._reap, daemon=True, name="scale to zero")
                    self._reaper.start()
            if ended:
                self._remove(started)
                self.forget(name)
                raise NotStarted(ended)
            return started

    def _ended(self, name: str, account: str) -> str:
        """Return why a revision may no longer run, or "" if it may."""
        if store.find_revision(self._world, name) is None:
            return "Failed to start: the revision was deleted."  # unverified: the sentence
        return self._account_ended(account)

    def _account_ended(self, account: str) -> str:
        with self._world.reading() as rows:
            if account and not standing.is_active(rows, f"serviceAccount:{account}"):
                # unverified: the sentence
                return f"Failed to start: service account {account} is disabled or deleted."
        return ""

    def drop(self, name: str) -> None:
        """Stop a revision's instance, if it has one."""
        with self._lock:
            found = self._running.get(name)
        if found is not None:
            self._drop(name, found)

    def _drop(self, name: str, instance: Instance) -> None:
        with self._lock:
            # Keep an instance with which another call has replaced it meanwhile.
            if self._running.get(name) is instance:
                del self._running[name]
        self._remove(instance)

    def _remove(self, instance: Instance) -> None:
        with contextlib.suppress(EngineFailed):
            containers.call("rm", "--force", "--volumes", instance.container)

    def end_account(self, email: str) -> None:
        """Stop all instances of an account."""
        with self._lock:
            ended = [(name, one) for name, one in self._running.items() if one.account == email]
        for name, one in ended:
            self._drop(name, one)

    def close(self) -> None:
        """Stop the thread that ends idle instances."""
        self._closed.set()

    def _reap(self) -> None:
        while not self._closed.wait(min(IDLE_SECONDS / 2, 10)):
            now = time.monotonic()
            with self._lock:
                idle = [name for name, one in self._running.items() if not one.busy and now - one.used > IDLE_SECONDS]
            for name in idle:
                log.info("scaled to zero: %s", name)
                self.drop(name)

    def fetch(self, name: str, image: str, number: str) -> None:
        """Pull an image by digest with the service agent's rights, and keep it under the revision's name.

        Raises:
            EngineFailed: if it cannot be pulled.
        """
        address = containers.address(self._world)
        copy = _copy(self._world, name)
        if containers.has_image(copy):
            return
        # One for each pull, since two revisions may be fetched at the same time.
        folder = self._world.folder / "builders" / f"agent-{secrets.token_hex(8)}"
        token = tokens.mint(self._world, f"serviceAccount:{RUN_AGENT.format(number=number)}", 600, tick=False)
        containers.write_config(folder, address.registry, token)
        local = image_names.through(address.registry, image)
        try:
            containers.call("pull", "--quiet", local, config=folder, seconds=300)
        finally:
            shutil.rmtree(folder)
        containers.call("tag", local, copy)

    def forget(self, name: str) -> None:
        """Remove the instance and the image of a deleted revision."""
        self.drop(name)
        with contextlib.suppress(EngineFailed):
            containers.call("image", "rm", "--no-prune", _copy(self._world, name))

    def _start(self, name: str, revision: dict[str, Any]) -> Instance:
        project_id, service = name.split("/")[1], name.split("/")[5]
        project = projects.find(self._world, project_id)
        account = revision["spec"].get("serviceAccountName", "")
        if ended := self._account_ended(account):
            raise NotStarted(ended)
        self.fetch(name, revision["status"]["imageDigest"], project.number if project else "")
        spec = revision["spec"]
        container = spec["containers"][0]
        port = port_of(container)
        bridge = containers.has_bridge()
        own_port = port if bridge else _free_port()
        run = ["--detach", "--init", "--label", containers.label(self._world)]
        mark = f"workbook-revision={revision['metadata']['name']}"
        run += ["--label", f"workbook-service={service}", "--label", mark]
        memory = container.get("resources", {}).get("limits", {}).get("memory", "512Mi")
        run += containers.limits(_memory(memory), "512")
        probe = probes.read(container, port)
        # A published port, never the container's own address: an engine in a virtual machine has another network.
        ports = sorted({own_port, probe.port or own_port})
        run += [f"--publish=127.0.0.1::{one}" for one in ports] if bridge else ["--network", "host"]
        given = secret_env.values(self._world, project_id, spec)
        own = {"PORT": str(own_port), "K_SERVICE": service, "K_CONFIGURATION": service}
        environment = {**given, **own, "K_REVISION": revision["metadata"]["name"]}
        command = list(container.get("command", ()))
        if command:
            run += ["--entrypoint", command[0]]
        run += [_copy(self._world, name), *command[1:], *container.get("args", ())]
        try:
            started = containers.run_with(environment, *run)
        except EngineFailed as error:
            # The engine keeps a container that it created but could not start.
            containers.remove_all([containers.label(self._world), mark])
            raise NotStarted(f"Failed to start: {error}") from None
        threading.Thread(
            target=self._follow, args=(started, project_id, name.split("/")[3], service, revision), daemon=True
        ).start()
        try:
            return Instance(started, self._wait(started, own_port, probe, bridge=bridge), account, time.monotonic())
        except NotStarted:
            containers.call("rm", "--force", "--volumes", started)
            raise

    def _wait(self, container: str, port: int, probe: probes.Probe, *, bridge: bool) -> tuple[str, int]:
        """Wait until the container's startup probe succeeds, and return the address that it listens on.

        Args:
            port: the value of PORT in the container.

        Raises:
            NotStarted: if the container ends, or the probe does not succeed in time.
        """
        begun = time.monotonic()
        pause = 0.05
        while (passed := time.monotonic() - begun) < probe.delay + probe.window:
            running, _, ports = containers.call("inspect", "--format", _STATE, container).partition(" ")
            if running != "true":
                break
            left = probe.delay + probe.window - passed
            probed = _published(ports, probe.port or port, bridge=bridge)
            if probed and passed >= probe.delay and probes.succeeds(probe, probed, timeout=min(probe.timeout, left)):
                found = _published(ports, port, bridge=bridge)
                if found:
                    return found
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        if probe.configured:
            raise NotStarted(
                "The user-provided container failed the configured startup probe checks. Logs for this revision might "
                "contain more information."
            )
        raise NotStarted(
            "The user-provided container failed to start and listen on the port defined provided by the "
            f"PORT={port if bridge else PORT} environment variable within the allocated timeout. This can happen when "
            "the container port is misconfigured or if the timeout is too short. The health check timeout can be "
            "extended. Logs for this revision might contain more information."
        )

    def _follow(self, container: str, project: str, location: str, service: str, revision: dict[str, Any]) -> None:
        """Write the container's output to Cloud Logging until it ends."""
        body = {
            "resource": {
                "type": "cloud_run_revision",
                "labels": {
                    "service_name": service,
                    "revision_name": revision["metadata"]["name"],
                    "configuration_name": service,
                    "location": location,
                    "project_id": project,
                },
            },
        }
        process = containers.start(["logs", "--follow", container])
        assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
        with contextlib.suppress(Exception), process.stdout:
            for line in process.stdout:
                text = redact(line.decode("utf-8", "replace").rstrip("\r\n"))
                with self._world.writing(tick=False) as rows:
                    entries.write(
                        rows, self._world, project, "run.googleapis.com%2Fstdout", {**body, "textPayload": text}
                    )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)


def _published(ports: str, port: int, *, bridge: bool) -> tuple[str, int] | None:
    """Return the address of a container's port on loopback, or None while the engine has not published it.

    Args:
        ports: the engine's `NetworkSettings.Ports`, as JSON.
    """
    if not bridge:
        return "127.0.0.1", port
    found = (json.loads(ports) or {}).get(f"{port}/tcp")
    return ("127.0.0.1", int(found[0]["HostPort"])) if found else None


def port_of(container: Mapping[str, Any]) -> int:
    """Return the port that a specification's container listens on."""
    return next((int(entry["containerPort"]) for entry in container.get("ports", ())), PORT)


def _copy(world: World, name: str) -> str:
    """Return a revision's name for its image. It begins with the project, so that a clean-up finds it."""
    _, project, _, location, _, service, _, revision = name.split("/")
    registry = containers.address(world).registry
    copies = f"{project}/cloud-run-copies/{containers.world_id(world)}"
    return f"{registry}/{image_names.host_of(location)}/{copies}/{service}:{revision}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _memory(text: str) -> str:
    """Return the bytes of a Kubernetes quantity such as `512Mi`, at least 128 MiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|k|M|G)?", text)
    if match is None:
        return "512m"
    unit = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}.get(match[2] or "", 1)
    return str(max(int(float(match[1]) * unit), 128 * 2**20))
