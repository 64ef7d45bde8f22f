"""Write the configuration of gcloud and docker for one world, into its own folder, never into the user's."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path

from helpers import target
from helpers.target import SandboxInfo


class SignInFailed(RuntimeError):
    """gcloud didn't accept the learner's key. The message is gcloud's."""


def write_gcloud(home: Path, info: SandboxInfo) -> None:
    """Write gcloud's properties for the world in `home`, and keep those that the learner has set.

    They are properties because an exported CLOUDSDK_CORE_PROJECT would make `gcloud config set project` ineffective.
    """
    folder = home / "gcloud"
    configuration = folder / "configurations" / "config_default"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    properties = configparser.ConfigParser(interpolation=None)
    properties.read(configuration, encoding="utf-8")
    wanted: dict[str, dict[str, str]] = {
        "core": {
            "custom_ca_certs_file": str(home / "ca" / "bundle.pem"),
            "disable_usage_reporting": "true",
        },
        "component_manager": {"disable_update_check": "true"},
        "survey": {"disable_prompts": "true"},
        "proxy": {"type": "http", "address": "127.0.0.1", "port": str(info.edge_port)},
        # Without it configure-docker refuses to write an entry for localhost.
        "artifacts": {"allow_unrecognized_registry": "true"},
    }
    for section, values in wanted.items():
        if not properties.has_section(section):
            properties.add_section(section)
        properties[section].update(values)
    properties["core"].setdefault("project", info.project_id)
    partial = configuration.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        properties.write(file)
    partial.replace(configuration)
    active = folder / "active_config"
    if not active.exists():
        active.write_text("default", encoding="utf-8")


def write_docker(home: Path, users_folder: Path | None = None) -> None:
    """Write an empty docker configuration that finds the user's own plugins (buildx, compose), unless there is one."""
    path = home / "docker" / "config.json"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    users = users_folder or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    plugins = [str(users / "cli-plugins")] if (users / "cli-plugins").is_dir() else []
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        plugins += json.loads((users / "config.json").read_text(encoding="utf-8")).get("cliPluginsExtraDirs", [])
    content = {"cliPluginsExtraDirs": plugins} if plugins else {}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def sign_in(home: Path, info: SandboxInfo, changes: Mapping[str, str | None]) -> bool:
    """Sign the learner in with gcloud. Return False if gcloud is missing or the learner is signed in already.

    Raises SignInFailed with gcloud's message.
    """
    environment = target.apply(changes, os.environ)
    gcloud = shutil.which("gcloud", path=environment.get("PATH"))
    if gcloud is None or _knows(home / "gcloud" / "credentials.db", info.learner):
        return False
    key = home / "learner-key.json"
    ran = subprocess.run(
        [gcloud, "auth", "activate-service-account", f"--key-file={key}", "--quiet"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if ran.returncode != 0:
        raise SignInFailed(
            f"gcloud didn't sign {info.learner} in (exit status {ran.returncode}):\n{ran.stderr.strip()}"
        )
    return True


def _knows(database: Path, account: str) -> bool:
    if not database.exists():
        return False
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute("SELECT 1 FROM credentials WHERE account_id = ?", (account,)).fetchone()
        except sqlite3.OperationalError:
            return False
    return row is not None
