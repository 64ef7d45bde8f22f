"""Fixtures for all tests: a temporary sandbox, its environment, the Docker Engine, the base image and notebooks.

Each test file has its own world, so that neither the order of files nor the worker that runs them matters.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import docker
import nbformat
import pytest

from cli.world import settings
from cli.world.starter import World
from helpers import target
from machine import base_image
from machine import engine as machine_engine
from machine import gcloud as machine_gcloud
from machine import tools as machine_tools
from tests import failures, worlds

# As in `workbook`: if gcloud isn't on the PATH, use the one that the set-up downloaded.
os.environ.update(machine_gcloud.environment())
os.environ.update(machine_tools.environment())

NotebookWriter = Callable[..., Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the file with the longest test first, or one worker would still run it long after the others have ended."""
    items.sort(key=lambda item: item.path.name != "test_recorded.py")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name bytes by their argument and position instead of their content.

    Compressed bytes contain the time of compression, so that two workers would collect different tests.
    """
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def no_failure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail if a sandbox that a test started answered a request with an unexpected 5xx."""
    yield
    found = failures.under(tmp_path_factory.getbasetemp())
    assert not found, "\n".join(["unexpected 5xx responses in the logs of sandboxes:", *found])


@pytest.fixture(scope="module", autouse=True)
def signed_in(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sign gcloud in to a test file's worlds only if the file mentions gcloud.

    Signing in takes as long as starting the sandbox.
    """
    with contextlib.ExitStack() as stack:
        if "gcloud" not in request.path.read_text(encoding="utf-8"):
            stack.enter_context(mock.patch.object(settings, "sign_in"))
        yield


@pytest.fixture(scope="session")
def run_id() -> str:
    """The value of the label on everything that this worker creates."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def found_engine(run_id: str) -> Iterator[machine_engine.Engine]:
    """The running engine. Without one the test is skipped (`make setup` starts one)."""
    found = machine_engine.find()
    if found is None:
        pytest.skip("no Docker Engine answers: make setup starts one")
    # Without a lease, a run that ends during the tests would stop the engine.
    machine_engine.lease(run_id, os.getpid())
    yield found
    machine_engine.release(run_id)


@pytest.fixture(scope="session")
def engine(found_engine: machine_engine.Engine) -> Iterator[docker.DockerClient]:
    """A client of the engine."""
    with contextlib.closing(machine_engine.client(found_engine)) as client:
        yield client


@pytest.fixture(scope="session")
def python_image(engine: docker.DockerClient) -> str:
    """The base image for `--build-arg PYTHON_IMAGE`."""
    return base_image.ensure(engine, print)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The running sandbox of a test file, in its own folder."""
    with worlds.opened(tmp_path_factory.mktemp("world")) as opened:
        yield opened


@pytest.fixture(scope="module")
def environment(world: World, run_id: str) -> dict[str, str]:
    """The environment of a learner's shell in the world, for processes that a test starts."""
    return worlds.environment(world, run_id)


@pytest.fixture
def in_world(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> target.Target:
    """The world as a Target, with this process's environment set to it, as in a notebook's kernel."""
    for name in set(os.environ) - set(environment):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return target.current()


@pytest.fixture
def write_notebook(tmp_path: Path) -> NotebookWriter:
    """Writes `NN_name.ipynb` into the test's folder, with one code cell for each text."""

    def write(name: str, *cells: str, parameters: str = "", heading: str = "A notebook") -> Path:
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        notebook = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        )
        notebook.cells.append(nbformat.v4.new_markdown_cell(f"# {heading}", id="title"))
        if parameters:
            notebook.cells.append(
                nbformat.v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]})
            )
        for number, source in enumerate(cells):
            notebook.cells.append(nbformat.v4.new_code_cell(source, id=f"cell-{number}"))
        path = folder / name
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture(scope="session")
def gcloud() -> Path:
    """The real gcloud. The test is skipped if it isn't on the PATH."""
    found = shutil.which("gcloud")
    if found is None:
        pytest.skip("gcloud isn't on the PATH")
    return Path(found)
