"""A slice of the run as if on Google: a notebook, docker, and what the test says of a helper that knows the sandbox."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from cli.run import google_world
from helpers import identity, images, projects, registry, repositories, target
from helpers.names import Image
from helpers.target import Target
from helpers.transport import rest
from machine import stand_in
from tests import on_google
from tests.on_google import Google

HOST = "us-central1-docker.pkg.dev"

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    with on_google.played(tmp_path_factory.mktemp("on-google")) as found:
        yield found


@pytest.fixture(scope="module")
def here(google: Google, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """This process as a notebook's kernel of a run on Google, with a repository of the run."""
    engine = {"DOCKER_HOST": google.environment["DOCKER_HOST"], "DOCKER_BUILDKIT": "0", "BUILD_NETWORK": "default"}
    with pytest.MonkeyPatch.context() as patched:
        for name in set(os.environ) - set(google.environment):
            patched.delenv(name)
        for name, value in google.environment.items():
            patched.setenv(name, value)
        home = tmp_path_factory.mktemp("home")
        changes = google_world.prepare(home, google.world.info.project_id, "slice", engine, "")
        for name, value in changes.items():
            patched.delenv(name, raising=False) if value is None else patched.setenv(name, value)
        found = target.current()
        projects.enable(found.location.project, projects.ARTIFACT_REGISTRY)
        repositories.create(found.repository_name)
        identity.sign_in(found.registry_host)
        yield found
        repositories.delete(found.repository_name)


@pytest.mark.gcloud
def test_a_notebook_runs_and_asks_google_alone(google: Google, gcloud: Path) -> None:
    # The shortest one with gcloud in it; make soak has them all.
    run = google.run("--only", "00", "--strict")
    assert run.summary["verdict"] == "OK"
    assert run.summary["target"] == "gcp"
    assert google.offences(run.requests) == []
    hosts = {one["host"] for one in run.requests}
    assert {"artifactregistry.googleapis.com", "cloudresourcemanager.googleapis.com", "oauth2.googleapis.com"} <= hosts
    assert google.tunnels() == set()


@contextlib.contextmanager
def pushed(here: Target) -> Iterator[Image]:
    """The base image, pushed by docker under Google's own name."""
    image = here.repository_name.image("base")
    with contextlib.closing(docker.from_env()) as client:
        base = stand_in.find(client)
        if base is None:
            pytest.skip("the engine has no base image of the workbook to push")
        name = here.docker_name(image.tag("1"))
        client.images.get(base).tag(name)
        try:
            images.push(image.tag("1"))
            yield image
        finally:
            client.images.remove(name)


def test_docker_pushes_and_pulls_under_google_s_name(google: Google, here: Target) -> None:
    before = len(google.requests())
    assert here.docker_name(here.repository_name) == f"{HOST}/{here.project_id}/{here.repository}"
    with pushed(here) as image:
        stored = repositories.images(here.repository_name)
        assert [one.tags for one in stored] == [("1",)]
        assert registry.manifest(image.tag("1")).digest == stored[0].image.value
        assert repositories.layer_sizes(image.tag("1"))
        images.pull(stored[0].image)
    asked = google.requests(before)
    assert google.offences(asked) == []
    assert {one["door"] for one in asked} == {"edge"}
    assert any(one["verb"] == "PUT" and "/manifests/" in one["path"] for one in asked)


@contextlib.contextmanager
def wired_rest(here: Target, port: int) -> Iterator[None]:
    honest = rest.call

    def wired(method: str, url: str, **arguments: Any) -> dict[str, Any]:
        return honest(method, url.replace("https://", f"http://localhost:{port}/"), **arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rest, "call", wired)
        assert projects.describe(here.location.project).number == here.project_number
        yield


@contextlib.contextmanager
def wired_registry(here: Target, port: int) -> Iterator[None]:
    honest = registry._url
    ours = f"http://localhost:{port}/v2/{HOST}"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry, "_url", lambda *names: honest(*names).replace(f"https://{HOST}/v2", ours))
        registry.push(here.repository_name.image("labels").tag("1"), [{"labels.txt": "setosa\n"}])
        yield


@contextlib.contextmanager
def wired_docker(here: Target, port: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Target, "docker_name", lambda self, name: f"localhost:{port}/{name}")
        # It isn't signed in there. That it came at all is what counts.
        with pytest.raises(images.TransferRefused), pushed(here):
            pass
        yield


@pytest.mark.parametrize("wired", [wired_rest, wired_registry, wired_docker])
def test_a_helper_that_is_wired_to_the_sandbox_is_found(
    google: Google, here: Target, wired: Callable[[Target, int], contextlib.AbstractContextManager[None]]
) -> None:
    before = len(google.requests())
    with wired(here, google.world.info.port):
        found = google.offences(google.requests(before))
    assert found
    assert all(line.startswith("port ") for line in found)
