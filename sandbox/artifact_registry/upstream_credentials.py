"""The credentials for an upstream. The password is in a secret version, which Artifact Registry's agent reads.

Source: https://cloud.google.com/artifact-registry/docs/repositories/configure-remote-authentication (the agent needs
the role Secret Manager Secret Accessor), remote_repository.proto (disable_upstream_validation: no request at creation).
unverified: the messages, and that the secret is read when the repository is created.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from sandbox.artifact_registry import repository_modes, upstream_calls
from sandbox.artifact_registry.upstream_calls import Credentials, Missing, Unreachable
from sandbox.errors import ApiError
from sandbox.iam import members, policies
from sandbox.secret_manager import secrets
from sandbox.state import projects
from sandbox.state.world import World

_ACCESS = "secretmanager.versions.access"
_VERSION = re.compile(r"projects/([^/]+)/secrets/([^/]+)/versions/([^/]+)")
# The first path that a client of the format requests
_PROBES = {"DOCKER": "/v2/", "PYTHON": "/simple/"}


def of(world: World, project_id: str, config: Mapping[str, Any]) -> Credentials | None:
    """Return the credentials in a remote repository's settings, or None if there are none.

    Raises:
        Unreachable: if the agent cannot read the secret version, or it is missing or not enabled.
    """
    settings = config.get("upstreamCredentials", {}).get("usernamePasswordCredentials")
    if not settings:
        return None
    version = settings["passwordSecretVersion"]
    match = _VERSION.fullmatch(version)
    owner = projects.find(world, match[1]) if match else None
    project = projects.find(world, project_id)
    agent = members.REGISTRY_AGENT.format(number=project.number if project else "")
    name = secrets.resource(owner.id, match[2]) if match and owner else version
    if not policies.decide(world, f"serviceAccount:{agent}", _ACCESS, name).allowed:
        raise Unreachable(
            f"Permission '{_ACCESS}' denied for resource '{version}' (or it may not exist): grant {agent} the role "
            "roles/secretmanager.secretAccessor on the secret"
        )
    with world.reading() as rows:
        found = secrets.find_version(rows, name, match[3]) if match else None
    if found is None:
        raise Unreachable(f"Secret Version [{version}] not found")
    if found.state != "ENABLED":
        raise Unreachable(f"Secret Version [{version}] is in {found.state} state")
    return Credentials((settings["username"], found.value.decode("utf-8", "replace")))


def validate(world: World, project_id: str, message: Mapping[str, Any]) -> None:
    """Raise unless the upstream accepts the credentials. Blocking; call it outside a transaction.

    Calls only an upstream with credentials, since a course may take place where others can't be reached (unverified:
    Google calls every upstream).

    Args:
        message: the repository in the request.

    Raises:
        ApiError: FAILED_PRECONDITION.
    """
    config = message.get("remoteRepositoryConfig", {})
    if "upstreamCredentials" not in config or config.get("disableUpstreamValidation", False):
        return
    address = repository_modes.upstream(message["format"], config)
    try:
        credentials = of(world, project_id, config)
        # A preset has no URL here.
        if "://" in address:
            _try(address, message["format"], credentials)
    except (Missing, Unreachable) as error:
        reason = str(error) or "it has no such address"
        raise ApiError("FAILED_PRECONDITION", f"The upstream could not be validated: {reason}.") from None


def _try(address: str, kind: str, credentials: Credentials | None) -> None:
    """Make the first request of the format's clients to an upstream."""
    import requests

    url = f"{address.rstrip('/').removesuffix('/simple')}{_PROBES.get(kind, '/')}"
    try:
        with (
            upstream_calls.session() as opened,
            opened.get(url, auth=credentials, timeout=upstream_calls.SECONDS, stream=True) as answer,
        ):
            challenge = answer.headers.get("WWW-Authenticate", "")
            if answer.status_code == HTTPStatus.UNAUTHORIZED and challenge.lower().startswith("bearer "):
                upstream_calls.token(opened, challenge, credentials)
            elif answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise Unreachable(f"{address} refuses the credentials with status {answer.status_code}")
    except requests.RequestException as error:
        raise Unreachable(type(error).__name__) from None
