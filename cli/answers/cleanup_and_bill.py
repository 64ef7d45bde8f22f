"""The commands `workbook cleanup preview`, `bill` and `record-exchanges`.

They call the public APIs of the environment's target: the sandbox after `eval "$(.venv/bin/workbook env)"`, else Google
with the default credentials. None of them leaves anything behind.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import requests
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions

from cli.exchanges import recorder
from cli.run.plans import BadRequest
from helpers import billing, names, policies, registry, retention, snapshots, target

FINE: Final = 0
WRONG: Final = 1
WARNED: Final = 3

_EXPECTED: Final = (
    exceptions.GoogleAPICallError,
    auth_exceptions.GoogleAuthError,
    registry.RegistryRefused,
    requests.RequestException,
)


def preview(file: Path, repository: str, *, as_json: bool, layers: bool, say: Callable[[str], Any]) -> int:
    """Print what the next run of the policies in `file` would do to a repository.

    Return 0, or 3 with warnings, or 1 when the file is wrong or the repository can't be read.
    Raises BadRequest for an invalid name of a repository, or an unreadable file.
    """
    try:
        place = names.Repository.parse(repository)
        wanted = policies.read(file)
        found = retention.preview(snapshots.read(place, layers=layers), wanted)
    except policies.BadPolicies as error:
        say(json.dumps({"problems": error.problems, "mended": error.mended}) if as_json else _problems(file, error))
        return WRONG
    except (names.BadName, OSError) as error:
        raise BadRequest(str(error)) from error
    except _EXPECTED as error:
        say(_refusal(error, as_json))
        return WRONG
    say(json.dumps(found.json()) if as_json else found.text())
    return WARNED if found.warnings else FINE


def bill(project: str, *, as_json: bool, say: Callable[[str], Any]) -> int:
    """Print what a month of a project's present state would cost on Google. Return 1 if it can't be read, else 0.

    Raises BadRequest without a project.
    """
    chosen = project or os.environ.get("GOOGLE_CLOUD_PROJECT", "")
    if not chosen:
        raise BadRequest("Which project? Write `workbook bill PROJECT`, or load a world with `workbook env` first.")
    try:
        found = billing.bill(names.Project.parse(chosen))
    except names.BadName as error:
        raise BadRequest(str(error)) from error
    except _EXPECTED as error:
        say(_refusal(error, as_json))
        return WRONG
    say(json.dumps(found.json()) if as_json else found.text())
    return FINE


def _problems(file: Path, error: policies.BadPolicies) -> str:
    lines = [f"{file} isn't a policy file that does what it says:", *(f"- {line}" for line in error.problems)]
    if error.mended:
        lines += ["Mended, as it was probably meant:", error.mended]
    return "\n".join(lines)


def _refusal(error: Exception, as_json: bool) -> str:
    text = f"{type(error).__name__}: {error}"
    return json.dumps({"error": text}) if as_json else text


def record_exchanges(project: str, region: str, folder: Path, *, say: Callable[[str], Any]) -> int:
    """Record the answers to the list of calls. Return 1 if nothing was written, else 0.

    Raises BadRequest for an invalid project id.
    """
    try:
        names.Project.parse(project)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    try:
        here = recorder.place(project, region, f"workbook-exchanges-{secrets.token_hex(3)}")
        source = "google" if target.admin("status") is None else "sandbox"
        found = recorder.record(here, source, say)
        written = recorder.save(found, folder, here.names)
    except (*_EXPECTED, recorder.SecretLeft, TimeoutError, OSError) as error:
        say(f"{type(error).__name__}: {error}")
        return WRONG
    say(f"{len(found)} exchanges with {source}, {len(written)} files in {folder}. Read them before you commit them.")
    return FINE
