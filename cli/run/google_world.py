"""Prepare a run on Google: copy the user's gcloud configuration, and check that the repository's name is free."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from google.api_core import exceptions

from cli.world import settings
from helpers import projects, repositories, target
from helpers.names import Project
from helpers.target import Target


class NameTaken(RuntimeError):
    """The run's repository exists already. Nothing was touched."""


def copy_gcloud(home: Path) -> Path:
    """Copy the user's gcloud configuration to `home` (0700), without its logs, and return the copy's folder."""
    users = os.environ.get("CLOUDSDK_CONFIG")
    source = Path(users) if users else Path.home() / ".config" / "gcloud"
    copy = home / "gcloud"
    if source.is_dir():
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("logs", "virtenv", "cache"))
    copy.mkdir(exist_ok=True)
    copy.chmod(0o700)
    return copy


def prepare(
    home: Path,
    project: str,
    run: str,
    engine: Mapping[str, str],
    python_image: str,
    region: str = target.REGION,
) -> dict[str, str | None]:
    """Copy gcloud's configuration into the run's own folder, and return the environment's changes.

    `gcloud config set` in a notebook then changes only the copy. Raises google.api_core.exceptions.GoogleAPICallError
    when the project can't be read.
    """
    copy_gcloud(home)
    settings.write_docker(home)
    found = projects.describe(Project.parse(project))
    return target.gcp_environment(
        home,
        project_id=found.project.id,
        project_number=found.number,
        run=run,
        engine=engine,
        region=region,
        billing_account=os.environ.get("BILLING_ACCOUNT", ""),
        python_image=python_image,
    )


def refuse_existing(here: Target) -> None:
    """Raise NameTaken if the run's repository exists already, which it can't if the API is disabled."""
    try:
        taken = repositories.exists(here.repository_name)
    except exceptions.Forbidden:
        return
    if taken:
        raise NameTaken(f"{here.repository_name} exists already, so this run stops before it touches it. Run again.")
