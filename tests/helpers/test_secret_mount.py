"""A wheel of a private repository inside `docker build`: which ways leave the token in the image, and which don't."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import names, packages, projects, target

MOUNT = """ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
RUN python -m venv /opt/venv
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \\
    /opt/venv/bin/python -m pip install ml-model
"""
ARGUMENT = """ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
ARG TOKEN
RUN echo "a line that may use it"
"""
COPIED = """ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
COPY pip.conf /etc/pip.conf
RUN rm /etc/pip.conf
"""


@pytest.fixture
def tag(in_world: target.Target, python_image: str) -> Iterator[str]:
    """A tag of an image that goes away with the test."""
    name = f"secret-mount-{secrets.token_hex(4)}"
    os.environ["PYTHON_IMAGE"] = python_image
    yield f"{name}:1"
    packages.remove_images(name)


def _build(folder: Path, dockerfile: str, tag: str, *options: str) -> None:
    (folder / "Dockerfile").write_text(dockerfile)
    command = ["docker", "build", "--quiet", "--build-arg", f"PYTHON_IMAGE={os.environ['PYTHON_IMAGE']}"]
    ran = subprocess.run([*command, *options, "--tag", tag, str(folder)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _repository(in_world: target.Target, folder: Path) -> names.Repository:
    """A repository with the wheel that is to be installed."""
    projects.enable(in_world.location.project, "artifactregistry.googleapis.com")
    repository = names.Repository(in_world.location, f"mount-{secrets.token_hex(4)}")
    packages.create(repository, labels=in_world.labels)
    packages.upload(repository, packages.wheel(folder, "ml-model", "1.0.0", "ANSWER = 42\n"))
    return repository


def test_a_secret_mount_leaves_no_token(in_world: target.Target, tag: str, tmp_path: Path) -> None:
    if why := packages.no_secret_mount():
        pytest.skip(why)
    context = tmp_path / "context"
    context.mkdir()
    repository = _repository(in_world, tmp_path / "wheels")
    packages.write_pip_conf(tmp_path / "pip.conf", repository)
    said = (tmp_path / "pip.conf").read_text()
    assert packages._TOKEN.search(said.encode()), "a token that the search would find"
    _build(context, MOUNT, tag, "--network", "host", "--secret", f"id=pip,src={tmp_path / 'pip.conf'}")
    script = "import ml_model; print(ml_model.ANSWER)"
    command = ["docker", "run", "--rm", tag, "/opt/venv/bin/python", "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout == "42\n", ran.stderr
    assert packages.tokens_in(tag) == ()


@pytest.mark.parametrize(("dockerfile", "place"), [(ARGUMENT, "history"), (COPIED, "layers")], ids=["argument", "file"])
def test_what_leaves_a_token_is_found(
    in_world: target.Target, tag: str, dockerfile: str, place: str, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    packages.write_pip_conf(context / "pip.conf", _repository(in_world, tmp_path / "wheels"))
    token = (context / "pip.conf").read_text().partition("oauth2accesstoken:")[2].partition("@")[0]
    _build(context, dockerfile, tag, *(("--build-arg", f"TOKEN={token}") if place == "history" else ()))
    assert packages.tokens_in(tag) == (place,)
