"""Instances of a revision, in this process: scale to zero, the cold start after it, and an instance that died."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from machine import engine as machine_engine
from sandbox import containers
from sandbox.cloud_run import instances, probes, store
from sandbox.containers import EngineFailed
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.conditions import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

SERVICE = store.resource("my-project", "us-central1", "app")
NAME = store.revision_name(SERVICE, "app-00001-abc")


@pytest.fixture
def world(
    tmp_path: Path,
    found_engine: machine_engine.Engine,
    engine: docker.DockerClient,
    python_image: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """A world that no process serves; the revision's copy of its image is there already."""
    for variable, value in machine_engine.environment(found_engine).items():
        monkeypatch.setenv(variable, value)
    port = 20_000 + secrets.randbelow(10_000)
    (tmp_path / "sandbox.json").write_text(json.dumps({"port": port, "edge_port": 1}))
    opened = World(tmp_path / "state", Clock())
    with opened.writing() as rows:
        projects.create(rows, opened, "my-project", "Mine", {})
        store.add(rows, SERVICE, {})
    store.add_revision(opened, SERVICE, 1, SERVING)
    registry = f"localhost:{port}/us-central1-docker.pkg.dev"
    repository = f"{registry}/my-project/cloud-run-copies/{containers.world_id(opened)}/app"
    engine.images.get(python_image).tag(repository, "app-00001-abc")
    yield opened
    containers.sweep(opened)
    with contextlib.suppress(docker.errors.ImageNotFound):
        engine.images.remove(f"{repository}:app-00001-abc", noprune=True)
    opened.close()


def revision(*command: str, **probe: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"command": list(command), "resources": {"limits": {"memory": "256Mi"}}}
    if probe:
        container["startupProbe"] = probe
    return {
        "metadata": {"name": "app-00001-abc"},
        "spec": {"containers": [container]},
        "status": {"imageDigest": "us-central1-docker.pkg.dev/my-project/r/app@sha256:" + "0" * 64},
    }


SERVING = revision("sh", "-c", 'exec python3 -m http.server "$PORT"')


def running(engine: docker.DockerClient, world: World) -> list[str]:
    found = engine.containers.list(filters={"label": containers.label(world)})
    return [str(one.id) for one in found]


def test_idle_instances_go_and_come_back(
    world: World, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "IDLE_SECONDS", 1.0)
    service = world.part(instances.Instances)
    with service.use(NAME, SERVING) as first:
        assert running(engine, world) == [first.container]
    until(lambda: not running(engine, world))
    with service.use(NAME, SERVING) as second:
        assert second.container != first.container


def test_a_busy_instance_stays(world: World, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "IDLE_SECONDS", 0.5)
    with world.part(instances.Instances).use(NAME, SERVING) as one:
        started = time.monotonic()
        until(lambda: time.monotonic() - started > 2)
        assert running(engine, world) == [one.container]


def test_one_that_died_is_replaced(world: World, engine: docker.DockerClient) -> None:
    service = world.part(instances.Instances)
    with service.use(NAME, SERVING) as first:
        pass
    engine.containers.get(first.container).kill()
    with service.use(NAME, SERVING) as second:
        assert second.container != first.container


DEAF = revision("sleep", "600", periodSeconds=1, failureThreshold=2, tcpSocket={"port": 8080})
# It listens, and the path that it is asked for is not there.
UNHEALTHY = revision(
    "sh", "-c", 'exec python3 -m http.server "$PORT"', periodSeconds=1, failureThreshold=2, httpGet={"path": "/none"}
)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        # These have all of Google's 240 seconds and do not take them.
        (revision("false"), "failed to start and listen on the port"),
        (revision("no-such-program"), "failed to start and listen on the port"),
        (DEAF, "failed the configured startup probe checks"),
        (UNHEALTHY, "failed the configured startup probe checks"),
    ],
    ids=["ends", "is none", "deaf", "unhealthy"],
)
def test_what_does_not_start(world: World, engine: docker.DockerClient, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(instances.NotStarted, match=words), world.part(instances.Instances).use(NAME, asked):
        pass
    assert engine.containers.list(all=True, filters={"label": containers.label(world)}) == []


def test_a_healthy_path_is_enough(world: World) -> None:
    command = ("sh", "-c", 'exec python3 -m http.server "$PORT"')
    asked = revision(*command, periodSeconds=5, failureThreshold=12, httpGet={"path": "/etc/"})
    with world.part(instances.Instances).use(NAME, asked) as one:
        assert one.container


def test_it_is_reached_on_loopback_wherever_the_engine_keeps_it(world: World, engine: docker.DockerClient) -> None:
    """A container's own address leads nowhere from a machine that isn't the engine's, or to a stranger."""
    with world.part(instances.Instances).use(NAME, SERVING) as one:
        host, port = one.connection.getpeername()
        ports = engine.containers.get(one.container).ports
    assert host == "127.0.0.1"
    if containers.has_bridge():
        assert ports["8080/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]


def test_a_probe_may_ask_another_port(world: World) -> None:
    # Both listen before one answers.
    both = """
import http.server, os, threading
ports = int(os.environ["PORT"]), 9090
servers = [http.server.ThreadingHTTPServer(("", port), http.server.SimpleHTTPRequestHandler) for port in ports]
threading.Thread(target=servers[0].serve_forever).start()
servers[1].serve_forever()
"""
    probe = {"httpGet": {"path": "/etc/", "port": 9090}}
    asked = revision("python3", "-c", both, periodSeconds=5, failureThreshold=12, **probe)
    with world.part(instances.Instances).use(NAME, asked) as one:
        one.connection.sendall(b"GET /etc/hostname HTTP/1.0\r\n\r\n")
        assert one.connection.recv(12) == b"HTTP/1.0 200"


def test_a_port_that_only_the_engine_listens_on_is_not_started() -> None:
    """As the engine's proxy does for a container that doesn't listen yet: it takes the connection and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        proxy = threading.Thread(target=lambda: server.accept()[0].close())
        proxy.start()
        assert not probes.succeeds(probes.Probe(), address, timeout=5)
        proxy.join()
        # One that listens and waits for the first word.
        assert probes.succeeds(probes.Probe(), address, timeout=5)


def test_two_first_calls_start_one_instance(world: World, engine: docker.DockerClient) -> None:
    seen: set[str] = set()

    def call() -> None:
        with world.part(instances.Instances).use(NAME, SERVING) as one:
            seen.add(one.container)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1
    assert running(engine, world) == list(seen)


VALUES = {
    "PLAIN": "S3CRET-VALUE",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/root",
    "DOCKER_HOST": "unix:///nowhere.sock",
    "EMPTY": "",
    "SPACES": "  a  b  ",
    "HASH": "#no comment",
    "QUOTES": "\"'$PATH\\n",
    "LINES": "one\ntwo\r\nthree",
    "LONG": "x" * 70_000,
    "WORDS": "gr\u00fcn \u2028 \U0001f600",
    "with.dots-and-dashes": "1",
}


def test_variables_come_into_a_container_as_they_are_and_on_no_command_line(
    world: World, python_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    run = subprocess.run

    def watched(command: list[str], **more: Any) -> Any:
        seen.extend(command)
        return run(command, **more)

    monkeypatch.setattr(containers.subprocess, "run", watched)
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    told = containers.run_with(VALUES, "--rm", "--network", "host", python_image, "python3", "-c", program)
    found = json.loads(told)
    assert {name: found.get(name) for name in VALUES} == VALUES
    assert not [word for word in seen for value in VALUES.values() if len(value) > 5 and value in word]


def test_a_value_that_cannot_be_given_secretly_is_refused(world: World, python_image: str) -> None:
    with pytest.raises(EngineFailed, match="several lines"):
        containers.run_with({"DOCKER_HOST": "one\ntwo"}, "--rm", python_image, "true")


def test_an_account_that_ends_takes_its_instances_along(world: World, engine: docker.DockerClient) -> None:
    with world.writing() as rows:
        email = projects.add_service_account(rows, world, "my-project", "runner", "")
    mine = {**SERVING, "spec": {**SERVING["spec"], "serviceAccountName": email}}
    served = world.part(instances.Instances)
    served.ensure(NAME, mine)
    assert running(engine, world)
    served.end_account(f"other-{email}")
    assert running(engine, world)
    with world.writing() as rows:
        rows.execute("UPDATE service_accounts SET disabled = 1")
    served.end_account(email)
    assert running(engine, world) == []
    with pytest.raises(instances.NotStarted, match="disabled or deleted"):
        served.ensure(NAME, mine)


def delete_revision(world: World, _email: str) -> None:
    with world.writing() as rows:
        store.remove_revision(rows, NAME)
    world.part(instances.Instances).forget(NAME)


def disable_account(world: World, email: str) -> None:
    with world.writing() as rows:
        rows.execute("UPDATE service_accounts SET disabled = 1")
    world.part(instances.Instances).end_account(email)


@pytest.mark.parametrize(
    ("end", "why"),
    [(delete_revision, "was deleted"), (disable_account, "disabled or deleted")],
    ids=["revision", "account"],
)
def test_an_instance_that_still_starts_when_its_revision_or_account_ends_is_removed(
    world: World, engine: docker.DockerClient, end: Callable[[World, str], None], why: str
) -> None:
    with world.writing() as rows:
        email = projects.add_service_account(rows, world, "my-project", "runner", "")
    command = ["sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done; exec python3 -m http.server $PORT"]
    mine = {**SERVING, "spec": {**revision(*command)["spec"], "serviceAccountName": email}}
    with ThreadPoolExecutor(1) as one:
        starting = one.submit(world.part(instances.Instances).ensure, NAME, mine)
        until(lambda: running(engine, world))
        end(world, email)
        engine.containers.get(running(engine, world)[0]).exec_run("touch /tmp/go")
        with pytest.raises(instances.NotStarted, match=why):
            starting.result()
    assert running(engine, world) == []
