"""machine.reach: an engine in another machine is noticed, and said to be one, before anything is built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest

from helpers.cell import about, documents
from machine import dockerd, engine, processes, reach, unix_socket

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.docker
def test_engine_of_this_machine_reaches_the_sandbox(found_engine: engine.Engine) -> None:
    assert reach.why_not(found_engine.host) == ""


@pytest.fixture
def engine_elsewhere(tmp_path: Path) -> Iterator[str]:
    """An engine in a network namespace of its own: its socket is here, its loopback isn't."""
    program = dockerd.program()
    if os.geteuid() != 0 or program is None or shutil.which("unshare") is None:
        pytest.skip("an engine in a network namespace needs root, dockerd and unshare")
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no network namespace")
    (tmp_path / "config.json").write_text("{}\n")
    # A socket's path may have 107 bytes, which pytest's folders reach.
    socket = Path(f"/tmp/workbook-elsewhere-{os.getpid()}.sock")
    arguments = [f"--pidfile={tmp_path}/pid", f"--config-file={tmp_path}/config.json", f"--exec-root={tmp_path}/exec"]
    arguments += [f"--data-root={tmp_path}/data", f"--host=unix://{socket}", "--bridge=none"]
    arguments += ["--iptables=false", "--ip6tables=false"]
    script = 'ip link set lo up 2>/dev/null; exec "$0" "$@"'
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", script, program, *arguments],
            env=dockerd.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while unix_socket.why_closed(str(socket)):
            assert child.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            processes.wait_gone(child.pid, 0.1)
        yield f"unix://{socket}"
    finally:
        child.terminate()
        child.wait(60)
        dockerd.unmount(tmp_path / "data", tmp_path / "exec" / "netns")
        socket.unlink(missing_ok=True)


@pytest.mark.docker
@pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="starts an engine of its own: make soak")
@pytest.mark.timeout(300)
def test_engine_that_cannot_reach_the_sandbox_is_reported(engine_elsewhere: str, tmp_path: Path) -> None:
    said = reach.why_not(engine_elsewhere)
    assert said.startswith(f"The Docker Engine at {engine_elsewhere} can't reach the sandbox: on its own machine's")
    assert "no answer within" not in said, "the engine said at once what it met"
    assert "notebooks 00 to 02" in said
    assert said.endswith(f"run the workbook in its container: {reach.CONTAINER}")

    # Whoever runs a notebook that needs it is told so, and nothing is pulled, made or built.
    values = dict(os.environ) | {
        "DOCKER_HOST": engine_elsewhere,
        "PYTHONPATH": str(ROOT),
        "WORKBOOK_INSTALL_GCLOUD": "0",
    }
    for name in ("WORKBOOK_PYTHON_IMAGE", "WORKBOOK_HOME"):
        values.pop(name, None)

    def workbook(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=tmp_path,
            env=values,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    ran = workbook("run", "--only", "04")
    assert ran.returncode == 1
    assert said in ran.stderr + ran.stdout
    with closing(docker.DockerClient(base_url=engine_elsewhere)) as client:
        assert client.images.list(all=True) == []


@contextmanager
def _fake_engine() -> Iterator[str]:
    """An engine that answers, and says nothing when it is asked to sign in: a packet filter that drops."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"ApiVersion": "1.41", "Version": "20.10.24"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            ended.wait(30)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.server_port}"
        finally:
            ended.set()
            server.shutdown()
            thread.join()


def test_one_whose_packets_are_dropped_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SECONDS", 0.2)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with _fake_engine() as host:
        assert "on its own machine's loopback, no answer within 0.2 s." in reach.why_not(host)


def test_notebooks_that_need_no_reachable_engine_are_named_in_the_message() -> None:
    without = [path.name[:2] for path in documents.notebooks() if not about.read(path).engine]
    assert f"notebooks {without[0]} to {without[-1]}," in reach.AS_IT_IS
