"""Secret Manager: store values, and let members read them. REST, with the default credentials."""

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
    """Store a value as the newest version of a secret, and return the version's number. Create the secret if needed.

    Raises google.api_core.exceptions.GoogleAPICallError.
    """
    body = {"replication": {"automatic": {}}, "labels": {LABEL: run}}
    with contextlib.suppress(exceptions.Conflict):
        rest.call("POST", _secrets(project), params={"secretId": name}, json=body)
    data = base64.b64encode(value).decode()
    added = rest.call("POST", f"{_secrets(project)}/{name}:addVersion", json={"payload": {"data": data}})
    return int(added["name"].rpartition("/")[2])


def let_read(project: names.Project, name: str, member: str) -> None:
    """Let a member read the secret's values, with roles/secretmanager.secretAccessor on this secret only."""
    url = f"{_secrets(project)}/{name}"
    policy = rest.call("GET", f"{url}:getIamPolicy")
    policy.setdefault("bindings", []).append({"role": _ACCESSOR, "members": [member]})
    rest.call("POST", f"{url}:setIamPolicy", json={"policy": policy})


def starting_with(project: names.Project, prefix: str) -> tuple[str, ...]:
    """Return the secrets whose names have a prefix, for example those that Cloud Build made for a connection.

    Raises google.api_core.exceptions.GoogleAPICallError.
    """
    listed = rest.call("GET", _secrets(project), params={"pageSize": 500}).get("secrets", [])
    found = (one["name"].rpartition("/")[2] for one in listed)
    return tuple(name for name in found if name.startswith(prefix))


def delete(project: names.Project, name: str) -> None:
    """Delete the secret with its versions. Do nothing if it doesn't exist or the API isn't enabled."""
    with contextlib.suppress(exceptions.NotFound, exceptions.Forbidden):
        rest.call("DELETE", f"{_secrets(project)}/{name}")


def _secrets(project: names.Project) -> str:
    return f"https://secretmanager.googleapis.com/v1/{project.resource}/secrets"
