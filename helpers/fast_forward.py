"""Find and create what a notebook needs from earlier notebooks, so that each notebook can run alone.

Notebooks need only names and images of earlier ones, never the result of an exercise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from helpers import identity, images, names, projects, registry, repositories, target
from helpers.cell import about, documents
from helpers.cell.about import Foundation
from helpers.target import ROOT, Target

_SERVICES: Final = ("artifactregistry.googleapis.com", "cloudresourcemanager.googleapis.com", "iam.googleapis.com")
_BEFORE: Final = "Send the values with POST."
_AFTER: Final = "Send the four values with POST."


def fast_forward(number: int, echo: Callable[[str], object] = print) -> None:
    """Create what notebook `number` needs and is missing, and print each step.

    Raises google.api_core.exceptions.GoogleAPICallError, images.BuildFailed, images.TransferRefused,
    identity.SignInFailed.
    """
    here = target.current()
    needs = _needs(number)
    last = max((place for place, one in enumerate(_FOUNDATIONS) if one in needs), default=-1)
    for foundation in list(_FOUNDATIONS)[: last + 1]:
        if done := _FOUNDATIONS[foundation].make(here):
            echo(f"Fast forward over notebook {about.number(about.provider(foundation))}: {done}.")


def missing(number: int, here: Target) -> Iterator[tuple[Foundation, str]]:
    """Yield what notebook `number` needs and is missing, with a sentence for each.

    An image is checked last, and only if nothing else is missing.
    """
    needs = _needs(number)
    lacking = False
    for foundation, one in _FOUNDATIONS.items():
        if foundation not in needs or (foundation == "image" and lacking) or one.is_there(here):
            continue
        lacking = True
        yield foundation, one.sentence.format(here=here)
        if foundation == "api":
            return


def _needs(number: int) -> tuple[Foundation, ...]:
    """Return what a notebook needs, which is nothing if there is no such notebook."""
    return next((about.read(path).needs for path in documents.notebooks() if about.number(path) == number), ())


def _enable(here: Target) -> str:
    new = projects.enable(here.location.project, *_SERVICES)
    return f"enabled {', '.join(new)}" if new else ""


def _create(here: Target) -> str:
    if repositories.exists(here.repository_name):
        return ""
    description = "Docker images for ML model servers"
    repositories.create(here.repository_name, description=description, labels=here.labels)
    return f"created the repository {here.repository_name.id}"


def _sign_in(here: Target) -> str:
    if identity.signed_in(here.registry_host):
        return ""
    if shutil.which("gcloud"):
        command = ["gcloud", "auth", "configure-docker", here.registry_host, "--quiet"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    else:
        identity.sign_in(here.registry_host)
    return f"signed Docker in to {here.registry_host}"


def _push(here: Target) -> str:
    image = here.repository_name.image(here.image)
    stored = repositories.images(here.repository_name)
    tags = {tag for one in stored if one.image.image == image for tag in one.tags}
    attested = here.repository_name.image("ml-attested")
    if not any(one.image.image == attested for one in stored):
        registry.push(attested.tag("1.0.0"), [{"labels.txt": "setosa\nversicolor\nvirginica\n"}])
        registry.attest(attested.tag("1.0.0"))
    if {"1.0.0", "1.0.1", "latest"} <= tags:
        return ""
    _build(image.tag("1.0.0"), ROOT)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        shutil.copytree(ROOT / "sample_app", scratch / "sample_app")
        for name in ("Dockerfile", ".dockerignore"):
            shutil.copy(ROOT / name, scratch)
        views = scratch / "sample_app" / "app" / "predictor" / "views.py"
        views.write_text(views.read_text(encoding="utf-8").replace(_BEFORE, _AFTER), encoding="utf-8")
        _build(image.tag("1.0.1"), scratch)
    images.tag(image.tag("1.0.1"), image.tag("latest"))
    images.push(image.tag("latest"))
    return f"built and pushed {image.path} 1.0.0 and 1.0.1"


def _build(tag: names.Tag, context: Path) -> None:
    build_args = {"PYTHON_IMAGE": os.environ["PYTHON_IMAGE"], "VERSION": tag.name}
    images.build(tag, context=context, build_args=build_args)
    images.push(tag)


@dataclass(frozen=True)
class _Step:
    """How to check for a foundation, what to say if it is missing, and how to create it."""

    is_there: Callable[[Target], bool]
    sentence: str
    make: Callable[[Target], str]


# In the order in which they build on each other.
_FOUNDATIONS: Final[dict[Foundation, _Step]] = {
    "api": _Step(
        lambda here: projects.is_enabled(here.location.project),
        "The Artifact Registry API isn't enabled in {here.project_id}.",
        _enable,
    ),
    "repository": _Step(
        lambda here: repositories.exists(here.repository_name),
        "The repository {here.repository_name} isn't there.",
        _create,
    ),
    "sign-in": _Step(
        lambda here: identity.signed_in(here.registry_host),
        "Docker has no sign-in for {here.registry_host}.",
        _sign_in,
    ),
    "image": _Step(
        lambda here: bool(repositories.images(here.repository_name)),
        "The repository {here.repository_name} holds no image.",
        _push,
    ),
}
