"""Check what a learner's machine has and lacks, for the table of notebook 0."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass

import docker
import docker.errors
import requests

from helpers import show, target
from machine import gcloud_components

_DISK_NEEDED = 3 * 10**9  # bytes: base, builder stages and two versions of the image, measured and rounded up


@dataclass(frozen=True)
class Finding:
    """One thing that the workbook needs. `get_it` says how to get it if it is missing."""

    name: str
    found: str
    needed_for: str
    get_it: str = ""

    @property
    def missing(self) -> bool:
        """Whether it is missing."""
        return bool(self.get_it)


def findings() -> tuple[Finding, ...]:
    """Return all findings. Changes nothing."""
    return (_python(), _gcloud(), _docker(), _engine(), _disk(), _world())


def report() -> None:
    """Print the table, and how to get what is missing."""
    found = findings()
    show.display(show.table(((one.name, one.found, one.needed_for) for one in found), ("what", "found", "needed for")))
    for one in found:
        if one.missing:
            print(f"{one.name}: {one.get_it}")
    if not any(one.missing for one in found):
        print("Nothing is missing.")


def _python() -> Finding:
    return Finding("Python", platform.python_version(), "everything")


def _gcloud() -> Finding:
    if not shutil.which("gcloud"):
        return Finding(
            "gcloud",
            "missing",
            "terminal cells",
            "run `make setup`, which downloads it; without it the Python cells do the work.",
        )
    lacking = " ".join(
        f"its component {name} is missing: {gcloud_components.PURPOSES[name]}. {gcloud_components.ways(name)}"
        for name in gcloud_components.missing()
    )
    return Finding("gcloud", _first(r"Google Cloud SDK (\S+)", "gcloud", "--version"), "terminal cells", lacking)


def _docker() -> Finding:
    if not shutil.which("docker"):
        return Finding(
            "docker", "missing", "push and pull", "install Docker; on Debian and Ubuntu the package docker.io has it."
        )
    return Finding("docker", _first(r"version ([\w.+-]+?),", "docker", "--version"), "push and pull")


def _engine() -> Finding:
    try:
        with contextlib.closing(docker.from_env(timeout=10)) as client:
            version = str(client.version()["Version"])
            # `workbook` sets the variable when the engine can't reach the sandbox.
            return Finding("Docker Engine", version, "building images", os.environ.get("WORKBOOK_ENGINE_ELSEWHERE", ""))
    except docker.errors.DockerException:
        return Finding(
            "Docker Engine", "missing", "building images", "run `make setup`; it starts one or says how to get one."
        )


def _disk() -> Finding:
    free = shutil.disk_usage(target.ROOT).free
    enough = free > _DISK_NEEDED
    found = "enough" if enough else show.size(free)
    return Finding(
        "Free disk space", found, "images", "" if enough else f"free {show.size(_DISK_NEEDED)} on this disk."
    )


def _world() -> Finding:
    here = target.current()
    address = "https://artifactregistry.googleapis.com/v1/projects"
    try:
        # Any answer will do, even a refusal, because it shows that the API is reachable.
        requests.get(address, timeout=10)
    except requests.RequestException:
        return Finding(
            "Artifact Registry", "no answer", "everything", "run `workbook status`; on Google look at your network."
        )
    return Finding("Artifact Registry", f"answers ({here.name})", "everything")


def _first(pattern: str, *command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(pattern, ran.stdout)
    return found[1] if found else "there"
