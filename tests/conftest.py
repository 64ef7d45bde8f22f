"""Fixtures that every test may use.

A throw-away sandbox, its environment, the Docker Engine, the base image, and notebooks made for one test.

Each test file gets a world of its own, so that the order of files, and which worker runs them, changes nothing.
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
from cli.world import starter as starter
from cli.world.starter import World
from helpers import target
from machine import base_image
from machine import engine as machine_engine
from machine import gcloud as machine_gcloud
from machine import tools as machine_tools
from tests import failures, worlds

# As `workbook` does it: where no gcloud is on the PATH, the one that the set-up downloaded.
os.environ.update(machine_gcloud.environment())
os.environ.update(machine_tools.environment())

NotebookWriter = Callable[..., Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file with the one long run first: started last, it would keep one worker long after the other has ended."""
    items.sort(key=lambda item: item.path.name != "test_recorded.py")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name bytes by their argument and place, not by what they hold.

    Compressed bytes hold the second in which they were made, and workers that collect in different seconds would
    collect different tests.
    """
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def no_failure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No sandbox that a test started failed: no request was answered with a 5xx that no test asked for."""
    yield
    told = failures.under(tmp_path_factory.getbasetemp())
    assert not told, "\n".join(["answers of 5xx in the logs of sandboxes:", *told])


@pytest.fixture(scope="module", autouse=True)
def signed_in(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sign gcloud in to this process's worlds for a file that has its name in it, and for no other.

    It takes as long as the start of the sandbox itself.
    """
    with contextlib.ExitStack() as stack:
        if "gcloud" not in request.path.read_text(encoding="utf-8"):
            stack.enter_context(mock.patch.object(settings, "sign_in"))
        yield


@pytest.fixture(scope="session")
def run_id() -> str:
    """The label's value of everything that this worker creates."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def found_engine(run_id: str) -> Iterator[machine_engine.Engine]:
    """The engine that answers; the test is skipped without one (`make setup` starts one)."""
    found = machine_engine.find()
    if found is None:
        pytest.skip("no Docker Engine answers: make setup starts one")
    # A run that ends meanwhile, in a test or beside the tests, must not stop the engine under them.
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
    """A running sandbox in a folder of its own: each test file has one, so that no file sees what another left."""
    with worlds.opened(tmp_path_factory.mktemp("world")) as opened:
        yield opened


@pytest.fixture(scope="module")
def environment(world: World, run_id: str) -> dict[str, str]:
    """The environment of a learner's shell in that world, for processes that a test starts."""
    return worlds.environment(world, run_id)


@pytest.fixture
def in_world(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> target.Target:
    """Put this process into the world, as a notebook's kernel is; gives the world as a Target."""
    for name in set(os.environ) - set(environment):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return target.current()


@pytest.fixture
def write_notebook(tmp_path: Path) -> NotebookWriter:
    """Write `NN_name.ipynb` into a folder of the test's own, one code cell for each text."""

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
    """The real gcloud; the test is skipped where it isn't on the PATH."""
    found = shutil.which("gcloud")
    if found is None:
        pytest.skip("gcloud isn't on the PATH")
    return Path(found)
