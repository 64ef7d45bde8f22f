"""Remove what a run created, and nothing else.

`find` returns what `leftovers` finds on Google, and on this machine containers by label and images by reference.
`remove` deletes what `find` returned.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

import docker
import docker.errors
import requests
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions

from helpers import iam, leftovers, names
from helpers.leftovers import ORDER, Leftover
from helpers.target import LABEL, Target
from helpers.transport import clients, rest

_ON_THIS_MACHINE = ("container", "image")
_REFUSALS = (
    exceptions.GoogleAPICallError,
    auth_exceptions.GoogleAuthError,
    docker.errors.APIError,
    requests.RequestException,
    TimeoutError,
)


@dataclass(frozen=True)
class Removal:
    """What was removed, and what couldn't be, with the reason. Neither has what had been deleted before."""

    removed: tuple[Leftover, ...]
    failed: tuple[tuple[Leftover, str], ...]


def find(here: Target) -> tuple[Leftover, ...]:
    """Return everything that the run of `here` created and that still exists. Changes nothing.

    Raises google.api_core.exceptions.GoogleAPICallError, and docker.errors.DockerException when no engine answers.
    """
    found = find_made(here)
    repositories = [one for one in found if one.kind == "repository"]
    return (*find_local(here, repositories), *found)


def find_made(here: Target) -> tuple[Leftover, ...]:
    """Return what `find` does, without containers and images on this machine."""
    return tuple(one for one in leftovers.find(here.location, (here.run,)).found if one.run == here.run)


def find_repositories(here: Target) -> tuple[Leftover, ...]:
    """Return the repositories with the run's label, or none where the API isn't enabled."""
    try:
        return tuple(one for one in leftovers.repositories(here.location) if one.run == here.run)
    except (exceptions.Forbidden, exceptions.NotFound):
        return ()


def find_local(here: Target, repositories: Iterable[Leftover] = ()) -> tuple[Leftover, ...]:
    """Return the run's containers, and the image references with a prefix that only this run uses."""
    prefixes = list(here.owned_prefixes)
    for one in repositories:
        repository = names.Repository.parse(one.name)
        prefixes += [f"{repository}/", f"{here.docker_name(repository)}/"]
    found: list[Leftover] = []
    with contextlib.closing(docker.from_env()) as client:
        for container in client.containers.list(
            all=True, ignore_removed=True, filters={"label": f"{LABEL}={here.run}"}
        ):
            found.append(Leftover("container", str(container.id), str(container.name), here.run))
        for image in client.api.images():
            references = [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]
            for reference in references:
                if reference.startswith(tuple(prefixes)):
                    found.append(Leftover("image", reference, str(image["Id"]), here.run))
    return tuple(sorted(set(found)))


def remove(found: Iterable[Leftover]) -> tuple[Leftover, ...]:
    """Remove leftovers in the order of `leftovers.ORDER`, and return those that still existed.

    Raises SweepFailed after removing everything else when something couldn't be removed.
    """
    done = attempt(found)
    if done.failed:
        raise SweepFailed("\n".join(f"{one.kind} {one.name}: {reason}" for one, reason in done.failed))
    return done.removed


class SweepFailed(RuntimeError):
    """Something couldn't be removed. The message has a line with the reason for each."""


def attempt(found: Iterable[Leftover]) -> Removal:
    """Remove leftovers in the order of `leftovers.ORDER`, and continue after a failure."""
    removed: list[Leftover] = []
    failed: list[tuple[Leftover, str]] = []
    with contextlib.ExitStack() as stack:
        wanted = sorted(set(found), key=lambda one: (ORDER.index(one.kind), one))
        local = any(one.kind in _ON_THIS_MACHINE for one in wanted)
        client = stack.enter_context(contextlib.closing(docker.from_env())) if local else None
        for one in wanted:
            try:
                _remove(one, client)
            except (docker.errors.NotFound, exceptions.NotFound):
                continue
            except _REFUSALS as error:
                failed.append((one, str(error).splitlines()[0]))
            else:
                removed.append(one)
    return Removal(tuple(removed), tuple(failed))


def _remove(one: Leftover, client: docker.DockerClient | None) -> None:
    match one.kind:
        case "container" if client:
            client.containers.get(one.name).remove(force=True, v=True)
        case "image" if client:
            # With noprune, because the engine would also delete the parents, which are the next build's cache.
            client.images.remove(one.name, noprune=True)
        case "repository":
            operation = clients.artifact_registry().delete_repository(name=one.name)
            operation.result(timeout=120)  # type: ignore[no-untyped-call]
        case "role":
            iam.revoke_all(names.Project.parse(one.detail), one.name)
        case "service account" | "identity pool":
            rest.call("DELETE", f"{leftovers.IAM}/{one.name}")
        case "secret":
            rest.call("DELETE", f"{leftovers.SECRETS}/{one.name}")
        case "trigger":
            rest.call("DELETE", f"{leftovers.BUILD}/{one.name}")
        case "budget":
            rest.call("DELETE", f"{leftovers.BUDGETS}/{one.name}")
        case _:
            rest.call("DELETE", one.name)
