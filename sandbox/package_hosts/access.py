"""Check who makes a request and whether they may: the same credentials and permissions as for images.

Source: https://cloud.google.com/artifact-registry/docs/python/authentication (user `oauth2accesstoken` with an access
token, `_json_key_base64` with a key) and .../access-control (which permission each operation needs).
"""

from __future__ import annotations

import logging

from sandbox.api.principal import Principal
from sandbox.artifact_registry.catalog import Repository, find_repository
from sandbox.errors import ApiError
from sandbox.iam import admission, policies, scopes, tokens
from sandbox.iam.tokens import InvalidToken
from sandbox.package_hosts.address import Address
from sandbox.package_hosts.refusals import PackageRefusal
from sandbox.redaction import redact
from sandbox.state import projects
from sandbox.state.world import World

SERVICE = "artifactregistry.googleapis.com"
DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
UPLOAD = "artifactregistry.repositories.uploadArtifacts"
CREATE_TAG = "artifactregistry.tags.create"
DELETE_TAG = "artifactregistry.tags.delete"

log = logging.getLogger("sandbox")


def identify(world: World, authorization: str, host: str) -> Principal:
    """Return the principal behind an Authorization header, or the anonymous principal if there is no header.

    Raises:
        PackageRefusal: 401 for an invalid credential.
    """
    try:
        return tokens.authenticate(world, authorization, host, basic=True)
    except InvalidToken as error:
        log.info("refused a credential: %s", redact(str(error)))
        raise _challenge(host, "not authenticated: No valid credential was supplied.") from None


def _challenge(host: str, message: str) -> PackageRefusal:
    # unverified: the realm and the text. After any 401 with Basic, pip, twine and uv ask the keyring again.
    return PackageRefusal(401, message, {"WWW-Authenticate": f'Basic realm="{host}"'})


def enter(world: World, principal: Principal, address: Address, permission: str) -> Repository:
    """Return the repository at an address, if the caller has the permission on it.

    Raises:
        PackageRefusal: 401 for an anonymous caller, so that a client asks its keyring; 403 without the permission;
            404 if the caller has the permission, but no repository of this format has the name.
    """
    project = projects.find(world, address.project)
    if project is not None and not principal.anonymous:
        try:
            admission.require_api(world, project, SERVICE, "Artifact Registry API")
        except ApiError as error:
            raise PackageRefusal(403, error.message) from None
    named = project is not None and project.id == address.project
    enough = scopes.allow(principal.scopes, SERVICE, reading=permission == DOWNLOAD)
    if not named or not enough or not policies.decide(world, principal.member, permission, address.repository).allowed:
        if principal.anonymous:
            raise _challenge(address.host, "not authenticated: No credential was supplied.")
        raise PackageRefusal(
            403, f"Permission '{permission}' denied on resource '{address.repository}' (or it may not exist)."
        )
    with world.reading() as rows:
        repository = find_repository(rows, address.repository)
    if repository is None or repository.format != address.format:
        # unverified: the text
        raise PackageRefusal(404, f'Repository "{address.repository_id}" of the format {address.format} was not found.')
    return repository
