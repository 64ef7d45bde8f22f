"""Two worlds with the same project on one engine: builds and services at once, and neither notices the other."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from cli.world import starter
from machine import engine as machine_engine
from sandbox import containers, seed
from sandbox.iam import tokens
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.conditions import until

PROJECT = "ml-workbook-twice"
SESSION = requests.Session()
SESSION.trust_env = False
REGION = "us-central1"
SERVICES = ("cloudbuild", "run", "artifactregistry")

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.usefixtures("found_engine")]


@dataclass
class Lab:
    """One of the two worlds."""

    home: Path
    token: str
    label: str

    @property
    def running(self) -> starter.World:
        found = starter.status(self.home).world
        assert found is not None
        return found

    def ask(self, verb: str, path: str, body: Any = None) -> Any:
        answer = SESSION.request(
            verb,
            f"{self.running.url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def containers(self, engine: docker.DockerClient) -> set[str]:
        found = engine.containers.list(all=True, ignore_removed=True, filters={"label": self.label})
        return {str(one.id) for one in found}

    def leftovers(self, engine: docker.DockerClient) -> list[str]:
        volumes = engine.volumes.list(filters={"label": self.label})
        networks = engine.networks.list(filters={"label": self.label})
        return [*self.containers(engine), *(str(one.id) for one in (*volumes, *networks))]

    def build(self, script: str) -> str:
        step = {"name": "gcr.io/cloud-builders/docker", "entrypoint": "bash", "args": ["-ec", script]}
        named = {"name": "python", "script": "true"}
        url = f"/cloudbuild.googleapis.com/v1/projects/{PROJECT}/builds"
        body = {"steps": [step, named], "options": {"logging": "CLOUD_LOGGING_ONLY"}, "tags": ["twice"]}
        return str(self.ask("POST", url, body)["metadata"]["build"]["id"])

    def status(self, build: str) -> str:
        found = self.ask("GET", f"/cloudbuild.googleapis.com/v1/projects/{PROJECT}/builds/{build}")
        return str(found["status"]) + (f": {found['statusDetail']}" if "statusDetail" in found else "")


def opened(home: Path) -> Lab:
    """A running world, with a token for its learner."""
    state = World(home / "state", Clock())
    about = seed.prepare(state, home, PROJECT, REGION)
    token = tokens.mint(state, f"serviceAccount:{about['learner']}")
    label = containers.label(state)
    state.close()
    starter.start(home, project=PROJECT, port=0)
    lab = Lab(home, token, label)
    enable = f"/serviceusage.googleapis.com/v1/projects/{PROJECT}/services:batchEnable"
    lab.ask("POST", enable, {"serviceIds": [f"{one}.googleapis.com" for one in SERVICES]})
    return lab


@pytest.fixture
def labs(tmp_path: Path, python_image: str) -> Iterator[list[Lab]]:
    homes = [tmp_path / name for name in ("one", "two")]
    with contextlib.ExitStack() as stack:
        for home in homes:
            home.mkdir()
            stack.callback(starter.stop, home)
        yield [opened(home) for home in homes]


def test_builds_at_once_neither_meet_nor_end_with_the_other_world(labs: list[Lab], engine: docker.DockerClient) -> None:
    one, two = labs
    wait = "while [ ! -e /workspace/go ]; do sleep 0.1; done"
    builds = [lab.build(wait) for lab in labs]
    for lab, build in zip(labs, builds, strict=True):
        until(lambda lab=lab, build=build: lab.status(build) == "WORKING" and lab.containers(engine))
    assert not one.containers(engine) & two.containers(engine)
    kept = two.containers(engine)
    # One world ends in the middle of both builds: what is the other's stays, and nothing of its own does.
    starter.stop(one.home)
    assert one.leftovers(engine) == []
    assert kept <= two.containers(engine)
    assert two.status(builds[1]) == "WORKING"
    [container] = engine.containers.list(filters={"label": two.label})
    assert container.exec_run(["touch", "/workspace/go"]).exit_code == 0
    assert until(lambda: two.status(builds[1]) != "WORKING" and two.status(builds[1])) == "SUCCESS"
    starter.stop(two.home)
    assert two.leftovers(engine) == []


def push(lab: Lab, engine: docker.DockerClient, python_image: str) -> None:
    parent = f"/artifactregistry.googleapis.com/v1/projects/{PROJECT}/locations/{REGION}/repositories"
    lab.ask("POST", f"{parent}?repositoryId=served", {"format": "DOCKER"})
    name = f"localhost:{lab.running.info.port}/{REGION}-docker.pkg.dev/{PROJECT}/served/app"
    engine.images.get(python_image).tag(name, "1")
    auth = {"username": "oauth2accesstoken", "password": lab.token}
    told = engine.images.push(name, "1", auth_config=auth)
    assert "errorDetail" not in told, told
    engine.images.remove(f"{name}:1", noprune=True)


def test_services_of_one_name_answer_each_in_its_world(
    labs: list[Lab], engine: docker.DockerClient, python_image: str
) -> None:
    api = f"/{REGION}-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{PROJECT}/services"
    for number, lab in enumerate(labs):
        push(lab, engine, python_image)
        script = f'cd /tmp && echo world {number} > index.html && exec python3 -m http.server "$PORT"'
        container = {
            "image": f"{REGION}-docker.pkg.dev/{PROJECT}/served/app:1",
            "command": ["sh", "-c", script],
        }
        body = {"metadata": {"name": "app"}, "spec": {"template": {"spec": {"containers": [container]}}}}
        lab.ask("POST", api, body)
    urls = []
    for lab in labs:

        def ready(lab: Lab = lab) -> Any:
            found = lab.ask("GET", f"{api}/app")
            [state] = [entry for entry in found["status"]["conditions"] if entry["type"] == "Ready"]
            assert state["status"] != "False", state
            return found["status"]["url"] if state["status"] == "True" else None

        urls.append(until(ready))
        policy = {"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}}
        lab.ask(
            "POST", f"/run.googleapis.com/v1/projects/{PROJECT}/locations/{REGION}/services/app:setIamPolicy", policy
        )
    one, two = labs
    assert [SESSION.get(url, timeout=60).text for url in urls] == ["world 0\n", "world 1\n"]
    starter.stop(one.home)
    assert one.leftovers(engine) == []
    assert SESSION.get(urls[1], timeout=60).text == "world 1\n"
    starter.stop(two.home)
    assert two.leftovers(engine) == []


def test_a_world_that_was_killed_leaves_nothing_after_a_reset(labs: list[Lab], engine: docker.DockerClient) -> None:
    one, two = labs
    builds = [lab.build("sleep 600") for lab in labs]
    for lab, build in zip(labs, builds, strict=True):
        until(lambda lab=lab, build=build: lab.status(build) == "WORKING" and lab.containers(engine))
    kept = two.containers(engine)
    process = one.running.info.pid
    os.kill(process, signal.SIGKILL)
    until(lambda: starter.status(one.home).world is None)
    assert one.leftovers(engine)
    starter.stop(one.home)
    assert one.leftovers(engine) == []
    starter.reset(one.home)
    assert one.leftovers(engine) == []
    assert kept <= two.containers(engine)
    assert machine_engine.find() is not None


def test_two_new_labs_have_two_projects(tmp_path: Path) -> None:
    names, runs = set(), set()
    for home in (tmp_path / "one", tmp_path / "two"):
        world = starter.start(home, port=0)
        names.add(world.info.project_id)
        runs.add(world.lab_run)
        starter.stop(home)
    assert len(names) == len(runs) == 2
    assert all(name.startswith("ml-workbook-") for name in names)
