"""SIGKILL during builds and deployments, Ctrl-C during the set-up: nothing is stuck, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from cli.run import stale
from helpers import target
from machine import dockerd, private_engine, processes
from machine import engine as machine_engine
from sandbox import containers, seed
from sandbox.iam import tokens
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.cli.run.test_runner import BEGIN, sandboxes_below
from tests.conditions import until
from tests.conftest import NotebookWriter
from tests.sandboxes import ROOT
from tests.soak.test_kills import Server

WHOLE = os.environ.get("WORKBOOK_SOAK") == "1"
KILLS = 20 if WHOLE else 1
RUN_KILLS = 10 if WHOLE else 1
CTRL_CS = 10 if WHOLE else 1
REGION = "us-central1"
WORKBOOK = Path(sys.executable).with_name("workbook")

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800 if WHOLE else 300)]


class Lab:
    """A world on an engine, whose sandbox a test kills and starts again."""

    def __init__(self, home: Path, engine: docker.DockerClient) -> None:
        project = f"ml-workbook-{secrets.token_hex(3)}"
        state = World(home / "state", Clock())
        about = seed.prepare(state, home, project, REGION)
        token = tokens.mint(state, f"serviceAccount:{about['learner']}")
        self.label = containers.label(state)
        state.close()
        self.engine, self.project = engine, project
        self.server = Server(home, project, token=token)

    def ask(self, verb: str, path: str, body: Any = None) -> Any:
        with self.server.session() as session:
            url = f"http://localhost:{self.server.port}{path.format(project=self.project)}"
            answer = session.request(verb, url, json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def enable(self, *services: str) -> None:
        body = {"serviceIds": [f"{name}.googleapis.com" for name in services]}
        self.ask("POST", "/serviceusage.googleapis.com/v1/projects/{project}/services:batchEnable", body)

    def left(self) -> list[str]:
        wanted = {"label": self.label}
        found = self.engine.containers.list(all=True, ignore_removed=True, filters=wanted)
        volumes, networks = self.engine.volumes.list(filters=wanted), self.engine.networks.list(filters=wanted)
        return [str(one.id) for one in (*found, *volumes, *networks)]


@pytest.fixture
def lab(
    tmp_path: Path,
    found_engine: machine_engine.Engine,
    engine: docker.DockerClient,
    python_image: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Lab]:
    for name, value in machine_engine.environment(found_engine).items():
        monkeypatch.setenv(name, value)
    made = Lab(tmp_path, engine)
    try:
        made.server.start()
        yield made
    finally:
        if made.server.child is not None and made.server.child.poll() is None:
            made.server.child.terminate()
            made.server.child.wait()
        machine_engine.remove_labelled(found_engine, made.label)


def test_builds_end_after_every_kill_and_leave_nothing(lab: Lab) -> None:
    lab.enable("cloudbuild")
    seeded = random.Random(20261128)
    url = "/cloudbuild.googleapis.com/v1/projects/{project}/builds"
    step = {"name": "gcr.io/cloud-builders/docker", "entrypoint": "bash", "args": ["-c", "sleep 1"]}
    body = {"steps": [step, step], "options": {"logging": "CLOUD_LOGGING_ONLY"}}
    for _ in range(KILLS):
        builds = [lab.ask("POST", url, body)["metadata"]["build"]["id"] for _ in range(3)]
        threading.Event().wait(seeded.uniform(0, 3))
        lab.server.kill()
        lab.server.start()
        for build in builds:
            found = until(lambda one=build: ended(lab.ask("GET", f"{url}/{one}")))
            assert found["status"] in ("SUCCESS", "INTERNAL_ERROR"), found
            if found["status"] == "INTERNAL_ERROR":
                assert found["statusDetail"] == "the sandbox was stopped while this build ran"
        until(lambda: not lab.left())


def ended(build: dict[str, Any]) -> dict[str, Any] | None:
    return build if build["status"] not in ("QUEUED", "WORKING", "PENDING") else None


def test_deployments_continue_after_every_kill(lab: Lab, python_image: str) -> None:
    lab.enable("run", "artifactregistry")
    seeded = random.Random(20261129)
    parent = f"/artifactregistry.googleapis.com/v1/projects/{{project}}/locations/{REGION}/repositories"
    lab.ask("POST", f"{parent}?repositoryId=served", {"format": "DOCKER"})
    name = f"localhost:{lab.server.port}/{REGION}-docker.pkg.dev/{lab.project}/served/app"
    lab.engine.images.get(python_image).tag(name, "1")
    auth = {"username": "oauth2accesstoken", "password": lab.server.token}
    told = lab.engine.images.push(name, "1", auth_config=auth)
    assert "errorDetail" not in told, told
    lab.engine.images.remove(f"{name}:1", noprune=True)
    api = f"/{REGION}-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{{project}}/services"

    def service(round_: int) -> dict[str, Any]:
        script = f'cd /tmp && echo round {round_} > index.html && exec python3 -m http.server "$PORT"'
        image = f"{REGION}-docker.pkg.dev/{lab.project}/served/app:1"
        spec = {"containers": [{"image": image, "command": ["sh", "-c", script]}]}
        return {"metadata": {"name": "app"}, "spec": {"template": {"spec": spec}}}

    for round_ in range(KILLS):
        if round_:
            lab.ask("PUT", f"{api}/app", service(round_))
        else:
            lab.ask("POST", api, service(round_))
        threading.Event().wait(seeded.uniform(0, 1.5))
        lab.server.kill()
        lab.server.start()
        found = until(lambda: settled(lab.ask("GET", f"{api}/app")))
        ready = next(entry for entry in found["status"]["conditions"] if entry["type"] == "Ready")
        assert ready["status"] == "True", ready
        if not round_:
            policy = {"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}}
            place = f"/run.googleapis.com/v1/projects/{{project}}/locations/{REGION}/services/app:setIamPolicy"
            lab.ask("POST", place, policy)
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(found["status"]["url"], timeout=60).text == f"round {round_}\n"
    assert lab.server.child is not None
    lab.server.child.terminate()
    lab.server.child.wait()
    assert lab.left() == []


def settled(service: dict[str, Any]) -> dict[str, Any] | None:
    return service if all(one["status"] != "Unknown" for one in service["status"]["conditions"]) else None


def test_ctrl_c_during_the_set_up_leaves_no_engine(tmp_path: Path) -> None:
    if os.geteuid() != 0 or dockerd.program() is None:
        pytest.skip("a private engine needs root and dockerd")
    seeded = random.Random(20261130)
    home = tmp_path / "engine"
    environment = {**os.environ, "WORKBOOK_ENGINE_HOME": str(home), "DOCKER_HOST": ""}
    # Only the private engine of this test can be found.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBOOK_ENGINE_HOME", str(home))
        run = Path(private_engine.host().removeprefix("unix://")).parent
        del environment["DOCKER_HOST"]
        environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
        if machine_engine.find() is not None:
            pytest.skip("another engine answers here, so the set-up starts none")
        output = tmp_path / "output"
        started = 0
        try:
            for _ in range(CTRL_CS):
                with output.open("w") as lines:
                    child = subprocess.Popen(
                        [str(WORKBOOK), "setup"],
                        env=environment,
                        stdout=lines,
                        stderr=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(seeded.uniform(0.3, 4))
                started += (home / "data").exists()
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGINT)
                if child.wait(60) == 0 or "\nBase image " in output.read_text():
                    # The set-up had done everything before the signal, so its engine keeps running.
                    private_engine.stop()
                until(lambda: processes.with_arguments(f"--pidfile={run}/docker.pid") is None)
                assert not Path(f"/sys/class/net/{private_engine.bridge_name()}").exists()
                assert f" {home}/" not in Path("/proc/mounts").read_text()
            assert started
        finally:
            private_engine.stop()
            shutil.rmtree(run, ignore_errors=True)


def test_killed_runs_leave_nothing_after_the_next_run(
    found_engine: machine_engine.Engine,
    engine: docker.DockerClient,
    python_image: str,
    write_notebook: NotebookWriter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in machine_engine.environment(found_engine).items():
        monkeypatch.setenv(name, value)
    seeded = random.Random(20261201)
    notebook = write_notebook("00_long.ipynb", BEGIN, "input_never = __import__('threading').Event().wait()")
    program = (
        "import sys; from pathlib import Path; from rich.console import Console; from cli.run import runner, plans;"
        "runner.run(plans.Plan((Path(sys.argv[1]),)), Console(), Path(sys.argv[2]))"
    )
    runs = tmp_path / "runs"
    for _ in range(RUN_KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(notebook), str(runs)], cwd=ROOT, stdout=subprocess.DEVNULL
        ) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seeded.uniform(0.5, 6))
            process.kill()
    stale.clean(runs, print)
    assert not list(runs.glob("*/world"))
    until(lambda: not sandboxes_below(tmp_path))
    known = [json.loads(path.read_text())["target"] for path in runs.glob("*/run.json")]
    for here in filter(None, known):
        labelled = {"label": f"{target.LABEL}={here['run']}"}
        assert engine.containers.list(all=True, ignore_removed=True, filters=labelled) == []
