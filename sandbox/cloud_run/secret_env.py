"""Environment variables of a revision whose values come from Secret Manager.

Source: https://cloud.google.com/run/docs/configuring/services/secrets and, for the refusal, public issues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.errors import invalid, unimplemented
from sandbox.iam import policies
from sandbox.secret_manager import secrets
from sandbox.state import projects
from sandbox.state.world import World

_ACCESS = "secretmanager.versions.access"


class SecretRefused(Exception):
    """A secret that does not exist, or that the revision's account may not read. The message is Cloud Run's."""


def check(entry: Mapping[str, Any], place: int) -> None:
    """Check an environment variable with `valueFrom` in a request.

    Raises:
        ApiError: INVALID_ARGUMENT or UNIMPLEMENTED.
    """
    where = f"spec.template.spec.containers[0].env[{place}].value_from"
    found = entry.get("valueFrom")
    key = found.get("secretKeyRef") if isinstance(found, dict) else None
    if not isinstance(key, dict) or not key.get("name") or not key.get("key"):
        raise invalid(f"{where}: should be a secret_key_ref with a name and a key")  # unverified: the sentence
    if ":" in key["name"] or "/" in key["name"]:
        raise unimplemented("a secret of another project in a revision's environment")


def values(world: World, project_id: str, spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a revision's container. Secrets are read as its service account.

    Raises:
        SecretRefused: if a secret cannot be read.
    """
    account = spec.get("serviceAccountName", "")
    found = {}
    for place, entry in enumerate(spec["containers"][0].get("env", ())):
        reference = entry.get("valueFrom", {}).get("secretKeyRef")
        found[entry["name"]] = (
            _read(world, project_id, reference["name"], str(reference["key"]), account, place)
            if reference
            else entry.get("value", "")
        )
    return found


def _read(world: World, project_id: str, secret: str, version: str, account: str, place: int) -> str:
    name = secrets.resource(project_id, secret)
    project = projects.find(world, project_id)
    shown = f"projects/{project.number if project else project_id}/secrets/{secret}/versions/{version}"
    where = f"spec.template.spec.containers[0].env[{place}].value_from.secret_key_ref.name"
    if not policies.decide(world, f"serviceAccount:{account}", _ACCESS, f"{name}/versions/{version}").allowed:
        raise SecretRefused(
            f"{where}: Permission denied on secret: {shown} for Revision service account {account}. The service "
            "account used must be granted the 'Secret Manager Secret Accessor' role "
            "(roles/secretmanager.secretAccessor) at the secret, project or higher level."
        )
    with world.reading() as rows:
        found = secrets.find_version(rows, name, version)
    if found is None:
        raise SecretRefused(f"{where}: Secret {shown} was not found")  # unverified: the sentence
    if found.state != "ENABLED":
        raise SecretRefused(f"{where}: Secret {shown} is in {found.state} state")  # unverified: the sentence
    return found.value.decode("utf-8", "replace")
