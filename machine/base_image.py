"""Choose the base image of the sample app: the public one if it can be pulled, else a stand-in made here."""

from __future__ import annotations

import os
from collections.abc import Callable

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from requests.exceptions import RequestException

from machine import platforms, stand_in
from machine.errors import BaseImageMissing

PUBLIC = "python:3.12-slim"
PROBE_SECONDS = 5
WANTED = "WORKBOOK_PYTHON_IMAGE"

__all__ = ["PROBE_SECONDS", "PUBLIC", "BaseImageMissing", "ensure"]

# A registry that didn't answer isn't tried again by this process, only by the next one.
_unreachable: dict[str, str] = {}


def ensure(client: docker.DockerClient, echo: Callable[[str], None]) -> str:
    """Return the reference for `--build-arg PYTHON_IMAGE`, after making sure that the engine has the image.

    The first of these that holds: the image that WORKBOOK_PYTHON_IMAGE names; `python:3.12-slim` in the engine; a
    stand-in that an earlier run made, if it is up to date (so that second runs ask no registry); `python:3.12-slim`
    pulled from Docker Hub; a stand-in made now from the distribution's archive. `echo` gets a line before anything
    that takes time.

    Raises BaseImageMissing if no image can be pulled or made.
    """
    wanted = os.environ.get(WANTED, "").strip()
    if wanted:
        return _given(client, wanted, echo)
    if _holds(client, PUBLIC):
        return PUBLIC
    existing = stand_in.find(client)
    if existing is not None:
        return existing
    refused = _pull(client, PUBLIC, echo)
    if refused is None:
        return PUBLIC
    echo(f"Docker Hub can't be reached from the engine ({refused}).")
    return stand_in.make(client, echo)


def _given(client: docker.DockerClient, wanted: str, echo: Callable[[str], None]) -> str:
    if wanted.partition(":")[0] == stand_in.REPOSITORY:
        made = stand_in.find(client) or stand_in.make(client, echo)
        if wanted not in (made, stand_in.REPOSITORY):
            raise BaseImageMissing(f"{WANTED} asks for {wanted}, but this system's Python makes {made}. Ask for that.")
        return made
    if _holds(client, wanted):
        return wanted
    refused = _pull(client, wanted, echo)
    if refused is not None:
        raise BaseImageMissing(
            f"{WANTED} names {wanted}, which is not in the engine and can't be pulled: {refused}. "
            f"Load it with `docker pull` or `docker load`, or unset {WANTED}."
        )
    return wanted


def _holds(client: docker.DockerClient, reference: str) -> bool:
    try:
        found = client.images.get(reference)
    except ImageNotFound:
        return False
    return f"{found.attrs['Os']}/{found.attrs['Architecture']}" == platforms.wanted()


def _pull(client: docker.DockerClient, reference: str, echo: Callable[[str], None]) -> str | None:
    """Pull the image. Return None if that worked, else the reason why it didn't.

    The engine is asked first whether it reaches the registry, since a pull that can't connect takes minutes to say so.
    It is the engine that must answer: it may sit behind another proxy, or on another machine, than this process.
    """
    if reference in _unreachable:
        return _unreachable[reference]
    usual = client.api.timeout
    try:
        client.api.timeout = PROBE_SECONDS
        client.api.inspect_distribution(reference)  # type: ignore[no-untyped-call]
        client.api.timeout = usual
        echo(f"Pulling {reference}, about 45 MB.")
        client.images.pull(reference, platform=platforms.wanted())
    except APIError as error:
        _unreachable[reference] = _brief(error.explanation or str(error))
    except (DockerException, RequestException):
        _unreachable[reference] = f"no answer within {PROBE_SECONDS} s"
    finally:
        client.api.timeout = usual
    return _unreachable.get(reference)


def _brief(explanation: str) -> str:
    return explanation.strip().splitlines()[0].rpartition(": ")[2] if explanation.strip() else "no reason given"
