"""Check the settings of standard, remote and virtual repositories.

Sources: google/devtools/artifactregistry/v1/repository.proto, virtual_repository.proto, remote_repository.proto, and
https://cloud.google.com/artifact-registry/docs/repositories/virtual-repo. The messages are unverified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sandbox.errors import invalid, unimplemented

STANDARD, REMOTE, VIRTUAL = "STANDARD_REPOSITORY", "REMOTE_REPOSITORY", "VIRTUAL_REPOSITORY"
MAX_POLICIES = 30  # "30 upstream policies per virtual repository", https://cloud.google.com/artifact-registry/quotas

_CONFIG = {REMOTE: "remoteRepositoryConfig", VIRTUAL: "virtualRepositoryConfig"}
_PRESETS = {
    "DOCKER": ("dockerRepository", "DOCKER_HUB"),
    "MAVEN": ("mavenRepository", "MAVEN_CENTRAL"),
    "NPM": ("npmRepository", "NPMJS"),
    "PYTHON": ("pythonRepository", "PYPI"),
}
_POLICY = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_SECRET_VERSION = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")
_REPOSITORY = re.compile(r"projects/[a-z0-9-]+/locations/[a-z0-9-]+/repositories/[a-z0-9-]+")


def check(message: Mapping[str, Any]) -> None:
    """Raise for settings that are invalid, or that the repository's mode does not have.

    Args:
        message: a repository with its format and its mode.

    Raises:
        ApiError: INVALID_ARGUMENT; UNIMPLEMENTED for settings that the sandbox does not support.
    """
    mode = message.get("mode", STANDARD)
    for other, field in _CONFIG.items():
        if field in message and other != mode:
            raise invalid(f"{field} is not supported for the mode {mode}.")
    if mode == REMOTE:
        _check_remote(message["format"], message.get(_CONFIG[REMOTE], {}))
    if mode == VIRTUAL:
        _check_virtual(message["format"], message.get(_CONFIG[VIRTUAL], {}))


def _check_remote(kind: str, config: Mapping[str, Any]) -> None:
    if kind not in _PRESETS:
        raise unimplemented(f"a remote repository of the format {kind}; it has them for {', '.join(_PRESETS)}")
    if not upstream(kind, config):
        field, preset = _PRESETS[kind]
        raise invalid(f"A remote repository of the format {kind} needs {field} ({preset}) or commonRepository.uri.")
    address = upstream(kind, config)
    if address != preset_of(kind) and not _REPOSITORY.fullmatch(address):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise invalid(f"{address[:300]!r} is no address of an upstream: it begins with https://.")
    if "upstreamCredentials" in config:
        _check_credentials(address, config["upstreamCredentials"].get("usernamePasswordCredentials", {}))


def _check_credentials(address: str, credentials: Mapping[str, Any]) -> None:
    if _REPOSITORY.fullmatch(address):
        raise invalid("An upstream in Artifact Registry is read with its own permissions, and takes no credentials.")
    version = credentials.get("passwordSecretVersion", "")
    if not credentials.get("username") or not _SECRET_VERSION.fullmatch(version):
        raise invalid(
            "upstreamCredentials needs usernamePasswordCredentials with a username and a passwordSecretVersion: "
            "projects/P/secrets/S/versions/V."
        )


def _check_virtual(kind: str, config: Mapping[str, Any]) -> None:
    if kind not in _PRESETS:
        raise unimplemented(f"a virtual repository of the format {kind}; it has them for {', '.join(_PRESETS)}")
    policies = config.get("upstreamPolicies", [])
    if len(policies) > MAX_POLICIES:
        raise invalid(f"A virtual repository has at most {MAX_POLICIES} upstream policies, not {len(policies)}.")
    names = [policy.get("id", "") for policy in policies]
    for policy in policies:
        name = policy.get("id", "")
        if not _POLICY.fullmatch(name) or names.count(name) > 1:
            raise invalid(f"Invalid upstream policy id {name[:100]!r}: letters, digits and dashes, each id once.")
        if not _REPOSITORY.fullmatch(policy.get("repository", "")):
            raise invalid(f"Upstream policy {name!r} needs a repository: projects/P/locations/L/repositories/R.")


def preset_of(kind: str) -> str:
    """Return the name of a format's public upstream: PYPI."""
    return _PRESETS[kind][1] if kind in _PRESETS else ""


def upstream(kind: str, config: Mapping[str, Any]) -> str:
    """Return a remote repository's upstream: a URL, a repository's resource name, or the preset's name."""
    field, preset = _PRESETS.get(kind, ("", ""))
    own = config.get(field, {})
    if own.get("publicRepository") == preset:
        return preset
    found: str = own.get("customRepository", {}).get("uri", "") or config.get("commonRepository", {}).get("uri", "")
    return found


def forget_input(message: dict[str, Any]) -> None:
    """Remove the input-only field, which is not stored."""
    if config := message.get(_CONFIG[REMOTE]):
        message[_CONFIG[REMOTE]] = {key: value for key, value in config.items() if key != "disableUpstreamValidation"}
