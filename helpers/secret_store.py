"""Secret Manager: a value with versions, and who may read it. REST, with the default credentials."""

from __future__ import annotations

import base64
import contextlib
from typing import Final

from google.api_core import exceptions

from helpers import names
from helpers.target import LABEL
from helpers.transport import rest

_ACCESSOR: Final = "roles/secretmanager.secretAccessor"


def put(project: names.Project, name: str, value: bytes, run: str) -> int:
    """Store a value as the newest version of a secret, which is made unless it is there; return its number.

    Raises google.api_core.exceptions.GoogleAPICallError.
    """
    body = {"replication": {"automatic": {}}, "labels": {LABEL: run}}
    with contextlib.suppress(exceptions.Conflict):
        rest.call("POST", _secrets(project), params={"secretId": name}, json=body)
    data = base64.b64encode(value).decode()
    added = rest.call("POST", f"{_secrets(project)}/{name}:addVersion", json={"payload": {"data": data}})
    return int(added["name"].rpartition("/")[2])


def let_read(project: names.Project, name: str, member: str) -> None:
    """Let a member read the secret's values: roles/secretmanager.secretAccessor on this secret alone."""
    url = f"{_secrets(project)}/{name}"
    policy = rest.call("GET", f"{url}:getIamPolicy")
    policy.setdefault("bindings", []).append({"role": _ACCESSOR, "members": [member]})
    rest.call("POST", f"{url}:setIamPolicy", json={"policy": policy})


def starting_with(project: names.Project, prefix: str) -> tuple[str, ...]:
    """Return the names of the secrets that begin so, for example those that a connection of Cloud Build made.

    Raises google.api_core.exceptions.GoogleAPICallError.
    """
    listed = rest.call("GET", _secrets(project), params={"pageSize": 500}).get("secrets", [])
    found = (one["name"].rpartition("/")[2] for one in listed)
    return tuple(name for name in found if name.startswith(prefix))


def delete(project: names.Project, name: str) -> None:
    """Remove the secret with its versions; one that is not there, or whose API is not enabled, is no error."""
    try:
        rest.call("DELETE", f"{_secrets(project)}/{name}")
    except (exceptions.NotFound, exceptions.Forbidden):
        return


def _secrets(project: names.Project) -> str:
    return f"https://secretmanager.googleapis.com/v1/{project.resource}/secrets"
