"""The life of the private engine, with a real dockerd."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from machine import bridge, dockerd, engine, private_engine, processes
from machine.errors import DockerCliMissing, EngineFailed, EngineMissing

pytestmark = pytest.mark.docker


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until its input is closed, to hold a lease."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        yield process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(timeout=10)


def _daemon_pid() -> int:
    return int(Path(private_engine.host().removeprefix("unix://")).with_name("docker.pid").read_text())


def test_engine_starts_and_ends_with_its_last_lease(engine_home: Path, holder: subprocess.Popen[bytes]) -> None:
    said: list[str] = []
    assert engine.find() is None
    started = engine.ensure(said.append)
    assert started.private
    assert started.host == private_engine.host()
    assert any("private Docker Engine" in line for line in said)
    with closing(engine.client(started)) as connection:
        assert connection.ping()
        assert connection.info()["DockerRootDir"] == str(engine_home / "data")
    pid = _daemon_pid()
    assert os.getsid(pid) == pid, "a Ctrl-C in the terminal would reach the engine"

    engine.lease("one", os.getpid())
    engine.lease("two", holder.pid)
    assert engine.release("one") is False
    assert engine.find() == started
    assert engine.release("two") is True
    assert engine.find() is None
    assert processes.born(pid) is None
    assert not bridge.exists(private_engine.bridge_name())


def test_second_start_finds_the_running_engine(engine_home: Path) -> None:
    said: list[str] = []
    first = engine.ensure(said.append)
    pid = _daemon_pid()
    said.clear()
    assert engine.ensure(said.append) == first
    assert private_engine.start(said.append) == first.host
    assert _daemon_pid() == pid
    assert said == []


def test_lease_of_an_ended_process_is_ignored(engine_home: Path, holder: subprocess.Popen[bytes]) -> None:
    engine.ensure(print)
    engine.lease("dead", holder.pid)
    _end(holder)
    assert "dead" not in private_engine.leases()
    assert engine.release("unknown") is True


def test_lease_of_a_reused_pid_is_ignored(engine_home: Path) -> None:
    engine.lease("reused", os.getpid())
    path = engine_home / "leases" / "reused.json"
    path.write_text(json.dumps({"pid": os.getpid(), "born": 1}))
    assert private_engine.leases() == {}
    assert not path.exists()


def test_malformed_lease_is_dropped(engine_home: Path) -> None:
    engine.lease("torn", os.getpid())
    (engine_home / "leases" / "torn.json").write_text('{"pid"')
    assert private_engine.leases() == {}


def test_lease_name_outside_its_folder_is_refused(engine_home: Path) -> None:
    with pytest.raises(ValueError, match="can't name a lease"):
        engine.lease("../escaped", os.getpid())


def test_foreign_engine_is_used_and_not_stopped(
    engine_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = private_engine.start(print)
    pid = _daemon_pid()
    # Seen from another home, the engine is somebody else's.
    monkeypatch.setenv("WORKBOOK_ENGINE_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("DOCKER_HOST", foreign)
    found = engine.ensure(print)
    assert found.host == foreign
    assert not found.private
    engine.lease("me", os.getpid())
    assert engine.release("me") is False
    assert private_engine.stop() is False
    assert processes.born(pid) is not None
    assert engine.find() == found


def test_home_with_a_long_path_works(engine_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 6) / "engine"
    assert len(str(deep)) > 107
    monkeypatch.setenv("WORKBOOK_ENGINE_HOME", str(deep))
    assert len(private_engine.host()) < 107
    try:
        assert engine.ensure(print).private
    finally:
        private_engine.stop()


def test_engine_starts_after_a_killed_one(engine_home: Path) -> None:
    engine.ensure(print)
    pid = _daemon_pid()
    os.kill(pid, signal.SIGKILL)
    assert processes.wait_gone(pid, 10)
    assert engine.find() is None
    again = engine.ensure(print)
    assert again.private
    assert _daemon_pid() != pid
    assert private_engine.stop() is True
    shutil.rmtree(engine_home)


def test_other_process_with_the_engines_pid_is_not_killed(engine_home: Path, holder: subprocess.Popen[bytes]) -> None:
    engine.ensure(print)
    path = Path(private_engine.host().removeprefix("unix://")).with_name("docker.pid")
    pid = int(path.read_text())
    path.write_text(str(holder.pid))
    # The engine is known by how it was started, the stranger by nothing.
    assert private_engine.stop() is True
    assert processes.born(pid) is None
    assert holder.poll() is None


def test_bridge_of_another_engine_survives(engine_home: Path) -> None:
    was_there = bridge.exists("docker0")
    if not bridge.make("docker0"):
        pytest.skip("this machine allows no bridge")
    try:
        engine.ensure(print)
        assert bridge.exists("docker0")
        engine.release("none")
        assert bridge.exists("docker0")
    finally:
        if not was_there:
            bridge.remove("docker0", path=os.environ["PATH"])


def test_daemon_does_not_inherit_the_sandboxs_environment(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBOOK_HOME", "/somewhere")
    monkeypatch.setenv("WORKBOOK_UPSTREAM_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", "/somewhere/ca/bundle.pem")
    monkeypatch.setenv("DOCKER_CONFIG", "/somewhere/docker")
    engine.ensure(print)
    seen = dict(
        item.split("=", 1) for item in Path(f"/proc/{_daemon_pid()}/environ").read_text().split("\0") if "=" in item
    )
    assert seen["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert not {"https_proxy", "SSL_CERT_FILE", "DOCKER_CONFIG"} & set(seen)


def test_folder_of_sockets_of_another_user_is_refused(engine_home: Path) -> None:
    folder = Path(private_engine.host().removeprefix("unix://")).parent
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(EngineFailed, match="belongs to somebody else"):
        private_engine.start(print)


def test_engine_that_ends_immediately_reports_why(
    engine_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "dockerd"
    broken.write_text("#!/bin/sh\necho 'failed: the disk is made of cheese' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(EngineFailed, match="the disk is made of cheese"):
        private_engine.start(print)
    assert not bridge.exists(private_engine.bridge_name())


def test_configured_host_without_an_engine_is_named(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert engine.find() is None
    with pytest.raises(EngineMissing, match=r"unix:///nowhere/docker\.sock: there is no such socket"):
        engine.ensure(print)


def test_installing_can_be_forbidden(engine_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(dockerd, "SYSTEM_FOLDERS", str(tmp_path))
    monkeypatch.setenv("WORKBOOK_INSTALL_ENGINE", "0")
    with pytest.raises(EngineMissing, match="WORKBOOK_INSTALL_ENGINE=0 forbids"):
        engine.ensure(print)


def test_files_of_a_stopped_container_are_no_engine(engine_home: Path, holder: subprocess.Popen[bytes]) -> None:
    """Its socket, and a pid that after the next start is somebody else's."""
    engine.ensure(print)
    pid = _daemon_pid()
    os.kill(pid, signal.SIGKILL)
    assert processes.wait_gone(pid, 10)
    folder = Path(private_engine.host().removeprefix("unix://")).parent
    assert (folder / "docker.sock").is_socket()
    (folder / "docker.pid").write_text(str(holder.pid))
    assert engine.find() is None
    assert engine.ensure(print).private
    assert _daemon_pid() not in (pid, holder.pid)
    assert holder.poll() is None


def test_missing_docker_command_is_named(engine_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.ensure(print)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DockerCliMissing, match="`docker` command is not on the PATH"):
        engine.ensure(print)


def test_containers_on_the_bridge_reach_the_network(engine_home: Path) -> None:
    started = engine.ensure(print)
    if not started.has_bridge:
        assert engine.build_network(started) == "host"
        pytest.skip("this machine allows no bridge")
    assert engine.build_network(started) is None
    rules = subprocess.run(["iptables", "-t", "nat", "-S"], capture_output=True, text=True, check=True).stdout
    assert f"! -o {private_engine.bridge_name()} -j MASQUERADE" in rules
    engine.release("none")
    rules = subprocess.run(["iptables", "-t", "nat", "-S"], capture_output=True, text=True, check=True).stdout
    assert private_engine.bridge_name() not in rules


def test_engine_has_its_own_subnet(engine_home: Path) -> None:
    before = bridge.routes(Path("/proc/net/route").read_text())
    started = engine.ensure(print)
    if not started.has_bridge:
        pytest.skip("this machine allows no bridge")
    with closing(engine.client(started)) as client:
        config = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    subnet = ipaddress.IPv4Network(config["Subnet"])
    assert not any(subnet.overlaps(one) for one in before)
    assert subnet in bridge.routes(Path("/proc/net/route").read_text())


def test_docker_command_reaches_the_engine_by_its_environment(engine_home: Path) -> None:
    started = engine.ensure(print)
    variables = engine.environment(started)
    assert variables["DOCKER_BUILDKIT"] in ("0", "1")
    done = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == started.version


def _listen(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "docker.sock"))
    listener.listen()
    return listener


STRANGER = 65534  # nobody


@pytest.mark.parametrize("whose", ["folder", "socket", "folder that all may write in", "link"])
def test_files_of_another_user_are_not_taken_for_our_engine(
    engine_home: Path, tmp_path: Path, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(private_engine.host().removeprefix("unix://")).parent
    if whose == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir(mode=0o700)
    asked: list[str] = []
    monkeypatch.setattr(engine, "connect", lambda host, _: asked.append(host))
    try:
        with _listen(folder):
            if whose == "folder that all may write in":
                folder.chmod(0o777)
            elif whose != "link":
                os.chown(folder if whose == "folder" else folder / "docker.sock", STRANGER, STRANGER)
            assert engine.find() is None
            # Nothing in there is ours to remove either.
            assert private_engine.stop() is False
            assert (folder / "docker.sock").exists()
            with pytest.raises(EngineFailed, match=r"belongs to somebody else|not a socket of ours"):
                private_engine.start(print)
        assert private_engine.host() not in asked
    finally:
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)


@pytest.mark.parametrize("moment", ["bridge", "spawn", "answer", "way out"])
def test_ctrl_c_during_the_start_leaves_no_engine(
    engine_home: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    spawn = dockerd.spawn

    def spawned(*arguments: object) -> int:
        spawn(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    place = {
        "bridge": (bridge, "make", interrupted),
        "spawn": (dockerd, "spawn", spawned),
        "answer": (private_engine, "_answers", interrupted),
        "way out": (bridge, "open_way_out", interrupted),
    }
    module, name, broken = place[moment]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, broken)
        with pytest.raises(KeyboardInterrupt):
            engine.ensure(lambda _: None)
    run = private_engine.host().removeprefix("unix://").removesuffix("/docker.sock")
    assert processes.with_arguments(f"--pidfile={run}/docker.pid") is None
    assert private_engine.leases() == {}
    assert not Path(f"/sys/class/net/{private_engine.bridge_name()}").exists()
    assert f" {engine_home}/" not in Path("/proc/mounts").read_text()
    # And it can be started afterwards.
    assert engine.ensure(lambda _: None).private


def test_busy_engine_is_not_restarted(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private_engine.start(print)
    run = private_engine.host().removeprefix("unix://").removesuffix("/docker.sock")
    before = processes.with_arguments(f"--pidfile={run}/docker.pid")
    assert before is not None
    silent = iter([False, False, False])
    answers = private_engine._answers
    monkeypatch.setattr(private_engine, "_answers", lambda: next(silent, None) is None and answers())
    private_engine.start(print)
    assert processes.with_arguments(f"--pidfile={run}/docker.pid") == before
    assert next(silent, None) is None
