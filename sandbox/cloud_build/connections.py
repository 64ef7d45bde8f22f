"""Repositories connected to Cloud Build, through connections (2nd generation, API v2) or the older GitHub app.

Sources: google/devtools/cloudbuild/v2/repositories.proto; gcloud's `builds connections` and `builds repositories`;
https://cloud.google.com/build/docs/automating-builds/github/connect-repo-github
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets as random
import sqlite3
from collections.abc import Mapping
from typing import Any

from google.cloud.devtools.cloudbuild_v2 import types

from sandbox import containers
from sandbox.api import lists, messages, operations
from sandbox.api.methods import Call
from sandbox.errors import ApiError, invalid, not_found, unimplemented
from sandbox.git_host import repositories as git_repositories
from sandbox.iam import policies
from sandbox.iam.members import BUILD_AGENT
from sandbox.secret_manager import secrets
from sandbox.state import projects
from sandbox.state.clock import timestamp
from sandbox.state.projects import Project
from sandbox.state.world import World

_TYPE = "type.googleapis.com/google.devtools.cloudbuild.v2."
_ID = re.compile(r"[a-z0-9A-Z][a-z0-9A-Z._~%!$&'()*+,;=@-]{0,62}")
_GITHUB = re.compile(r"https://github\.com/(?P<owner>[^/]+)/(?P<name>[^/]+?)\.git")
_OTHERS = {
    "githubEnterpriseConfig": "connections to GitHub Enterprise",
    "gitlabConfig": "connections to GitLab",
    "bitbucketDataCenterConfig": "connections to Bitbucket",
    "bitbucketCloudConfig": "connections to Bitbucket",
}
_OAUTH_MESSAGE = (
    "Please log in to https://github.com using a robot account and then follow this link to authorize Cloud Build to "
    "access that account. After authorization, your GitHub authorization token will be stored in Cloud Secret Manager."
)
_INSTALL_MESSAGE = "Please log in to https://github.com and install the Cloud Build GitHub App."  # unverified
COMPLETE = "COMPLETE"


class ConsentRefused(Exception):
    """A consent that has no effect. The message is the reason shown to the user."""


def _parent(call: Call) -> str:
    return f"projects/{call.project.id}/locations/{call.params['location']}"


def _name(call: Call) -> str:
    return f"{_parent(call)}/connections/{call.params['connection']}"


def _finish(
    call: Call, rows: sqlite3.Connection, verb: str, target: str, kind: str = "", body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    now = timestamp(call.world.now())
    name = f"{_parent(call)}/operations/operation-{random.token_hex(16)}"
    metadata = {
        "@type": f"{_TYPE}OperationMetadata",
        "createTime": now,
        "endTime": now,
        "target": target,
        "verb": verb,
        "requestedCancellation": False,
        "apiVersion": "v2",
    }
    kind = f"{_TYPE}{kind}" if kind else "type.googleapis.com/google.protobuf.Empty"
    return operations.finish(rows, call.world, name, {"@type": kind, **(body or {})}, metadata)


def get_operation(call: Call) -> dict[str, Any]:
    """Return an operation of this API."""
    return operations.get(call.world, f"{_parent(call)}/operations/{call.params['operation']}")


def _find(rows: sqlite3.Connection, name: str) -> dict[str, Any]:
    """Return a connection, or a connected repository, by its resource name."""
    row = rows.execute(
        "SELECT body FROM build_connections WHERE name = ?1 UNION SELECT body FROM build_repositories WHERE name = ?1",
        (name,),
    ).fetchone()
    if row is None:
        raise not_found(f"Resource '{name}' was not found")
    found: dict[str, Any] = json.loads(row["body"])
    return found


def create(call: Call) -> dict[str, Any]:
    """Create a connection to GitHub. Without a token in the request, it waits for the user's consent."""
    body = messages.render(messages.parse(types.Connection.pb(), call.json(), "connection"))
    for field, what in _OTHERS.items():
        if field in call.json():
            raise unimplemented(what)
    if "githubConfig" not in call.json():
        raise invalid("connection must have a config: githubConfig")  # unverified: the sentence
    name = f"{_parent(call)}/connections/{_id(call.query.get('connectionId', ''))}"
    now = timestamp(call.world.now())
    config = body.get("githubConfig", {})
    made = {
        "name": name,
        "createTime": now,
        "updateTime": now,
        "githubConfig": config,
        **{field: body[field] for field in ("disabled", "annotations") if body.get(field)},
    }
    state = ""
    if config.get("authorizerCredential", {}).get("oauthTokenSecretVersion"):
        made["githubConfig"] = _authorized(call.world, call.project, config)
        made["installationState"] = {"stage": COMPLETE}
    else:
        state = random.token_urlsafe(24)
        made["installationState"] = waiting(call.world, "PENDING_USER_OAUTH", state)
    made["etag"] = _etag(made)
    with call.world.writing() as rows:
        try:
            rows.execute(
                "INSERT INTO build_connections (name, project, body, state) VALUES (?, ?, ?, ?)",
                (name, call.project.id, json.dumps(made), state),
            )
        except sqlite3.IntegrityError:
            raise ApiError("ALREADY_EXISTS", f"Resource '{name}' already exists") from None
        return _finish(call, rows, "create", name, "Connection", made)


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise invalid(f"invalid resource ID {text[:80]!r}")  # unverified: the sentence
    return text


def _etag(body: dict[str, Any]) -> str:
    return f'"{hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]}"'


def waiting(world: World, stage: str, state: str) -> dict[str, str]:
    """Return the installation state of a connection whose user has to open a page."""
    page = "login/oauth/authorize" if stage == "PENDING_USER_OAUTH" else "apps/google-cloud-build/installations/new"
    message = _OAUTH_MESSAGE if stage == "PENDING_USER_OAUTH" else _INSTALL_MESSAGE
    address = containers.address(world).registry
    return {"stage": stage, "message": message, "actionUri": f"http://{address}/github.com/{page}?state={state}"}


def _authorized(world: World, project: Project, config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with the token's user, after checking that the service agent can read a valid token."""
    version = config["authorizerCredential"]["oauthTokenSecretVersion"]
    match = re.fullmatch(r"projects/([^/]+)/secrets/([^/]+)/versions/([^/]+)", version)
    owner = projects.find(world, match[1]) if match else None
    if match is None or owner is None:
        raise invalid(f"invalid secret version name: {version}")  # unverified: the sentence
    name, agent = secrets.resource(owner.id, match[2]), BUILD_AGENT.format(number=project.number)
    if not policies.decide(world, f"serviceAccount:{agent}", "secretmanager.versions.access", name).allowed:
        raise ApiError(
            "FAILED_PRECONDITION",
            f"could not access secret '{version}' with service account {agent}: generic::permission_denied: Permission "
            f"'secretmanager.versions.access' denied for resource '{version}' (or it may not exist).",
        )  # unverified: the sentence
    with world.reading() as rows:
        found = secrets.find_version(rows, name, match[3])
    login = git_repositories.login_of(world, found.value.decode("utf-8", "replace").strip()) if found else ""
    if found is None or found.state != "ENABLED" or not login:
        raise invalid(f"the token in '{version}' is not valid at https://github.com")  # unverified: the sentence
    credential = {"oauthTokenSecretVersion": version, "username": login}
    return {**config, "authorizerCredential": credential}


def list_connections(call: Call) -> dict[str, Any]:
    """Return a location's connections by name."""
    with call.world.reading() as rows:
        found = rows.execute("SELECT body FROM build_connections WHERE project = ? ORDER BY name", (call.project.id,))
        here = [json.loads(row["body"]) for row in found]
    place = call.params["location"]
    here = [one for one in here if place in ("-", one["name"].split("/")[3])]
    chosen, token = lists.page(here, call.query, lambda one: str(one["name"]))
    return lists.answer("connections", chosen, token)


def get(call: Call) -> dict[str, Any]:
    """Return one connection."""
    with call.world.reading() as rows:
        return _find(rows, _name(call))


def delete(call: Call) -> dict[str, Any]:
    """Delete a connection and its connected repositories. The secret with the token stays."""
    with call.world.writing() as rows:
        _find(rows, _name(call))
        rows.execute("DELETE FROM build_repositories WHERE connection = ?", (_name(call),))
        rows.execute("DELETE FROM build_connections WHERE name = ?", (_name(call),))
        return _finish(call, rows, "delete", _name(call))


def _linkable(world: World, connection: dict[str, Any]) -> list[git_repositories.Repository]:
    """Return the repositories that the user who gave the consent administers."""
    login = connection["githubConfig"].get("authorizerCredential", {}).get("username", "")
    return [one for one in git_repositories.every(world) if git_repositories.right(world, one, login) == "admin"]


def _require_complete(connection: dict[str, Any]) -> None:
    if connection["installationState"]["stage"] != COMPLETE:
        short = connection["name"].rpartition("/")[2]
        raise ApiError(
            "FAILED_PRECONDITION",
            f"connection '{short}' is not ready: its installation state is "
            f"{connection['installationState']['stage']}",  # unverified: the sentence
        )


def fetch_linkable(call: Call) -> dict[str, Any]:
    """Return the repositories that can be connected through a connection."""
    with call.world.reading() as rows:
        connection = _find(rows, _name(call))
    _require_complete(connection)
    found = [
        {"name": f"{connection['name']}/repositories/{one.owner}-{one.name}", "remoteUri": one.url}
        for one in _linkable(call.world, connection)
    ]
    chosen, token = lists.page(found, call.query, lambda one: str(one["name"]))
    return lists.answer("repositories", chosen, token)


def connect(call: Call) -> dict[str, Any]:
    """Connect one repository of a connection."""
    body = messages.render(messages.parse(types.Repository.pb(), call.json(), "repository"))
    uri = body.get("remoteUri", "")
    with call.world.reading() as rows:
        connection = _find(rows, _name(call))
    _require_complete(connection)
    match = _GITHUB.fullmatch(uri)
    if match is None:
        raise invalid(f"invalid remote URI '{uri}': it is https://github.com/OWNER/NAME.git")  # unverified
    found = next((one for one in _linkable(call.world, connection) if one.url.lower() == uri.lower()), None)
    if found is None:
        raise ApiError(
            "FAILED_PRECONDITION",
            f"repository {match['owner']}/{match['name']} is not accessible from the connection "
            f"'{call.params['connection']}'",  # unverified: the sentence
        )
    name = f"{_name(call)}/repositories/{_id(call.query.get('repositoryId', ''))}"
    now = timestamp(call.world.now())
    made = {"name": name, "remoteUri": uri, "createTime": now, "updateTime": now}
    made |= {"annotations": body["annotations"]} if body.get("annotations") else {}
    made["etag"] = _etag(made)
    with call.world.writing() as rows:
        for row in rows.execute("SELECT body FROM build_repositories WHERE connection = ?", (_name(call),)):
            if json.loads(row["body"])["remoteUri"].lower() == uri.lower():
                raise ApiError("ALREADY_EXISTS", f"repository '{uri}' is already linked")  # unverified: the sentence
        try:
            rows.execute(
                "INSERT INTO build_repositories (name, connection, body) VALUES (?, ?, ?)",
                (name, _name(call), json.dumps(made)),
            )
        except sqlite3.IntegrityError:
            raise ApiError("ALREADY_EXISTS", f"Resource '{name}' already exists") from None
        return _finish(call, rows, "create", name, "Repository", made)


def _repository_name(call: Call) -> str:
    return f"{_name(call)}/repositories/{call.params['repository']}"


def list_repositories(call: Call) -> dict[str, Any]:
    """Return a connection's repositories by name; `-` means all connections."""
    with call.world.reading() as rows:
        found = rows.execute("SELECT body FROM build_repositories ORDER BY name").fetchall()
    here = [json.loads(row["body"]) for row in found]
    wanted = call.params["connection"]
    prefix = f"{_parent(call)}/connections/" + ("" if wanted == "-" else f"{wanted}/")
    here = [one for one in here if one["name"].startswith(prefix)]
    chosen, token = lists.page(here, call.query, lambda one: str(one["name"]))
    return lists.answer("repositories", chosen, token)


def get_repository(call: Call) -> dict[str, Any]:
    """Return one connected repository."""
    with call.world.reading() as rows:
        return _find(rows, _repository_name(call))


def disconnect(call: Call) -> dict[str, Any]:
    """Disconnect a repository. At the Git host it stays."""
    with call.world.writing() as rows:
        _find(rows, _repository_name(call))
        rows.execute("DELETE FROM build_repositories WHERE name = ?", (_repository_name(call),))
        return _finish(call, rows, "delete", _repository_name(call))


def of_app(world: World, project: str, location: str, github: Mapping[str, Any]) -> git_repositories.Repository | None:
    """Return the repository that a project connected through the older GitHub app, or None."""
    owner, name = str(github.get("owner", "")), str(github.get("name", ""))
    with world.reading() as rows:
        found = rows.execute(
            "SELECT 1 FROM repository_mappings WHERE project = ? AND location = ? AND repository = ?",
            (project, location, f"{owner}/{name}"),
        ).fetchone()
    return git_repositories.find(world, owner, name) if found else None


def of_resource(world: World, project: Project, location: str, name: str) -> git_repositories.Repository | None:
    """Return the repository behind a 2nd-generation resource of the same project and region, or None."""
    parts = name.split("/")
    if len(parts) != 8 or parts[1] not in (project.id, project.number) or parts[3] != location:
        return None
    parts[1] = project.id
    with world.reading() as rows:
        row = rows.execute(
            "SELECT build_repositories.body, build_connections.body AS connection FROM build_repositories"
            " JOIN build_connections ON build_connections.name = connection WHERE build_repositories.name = ?",
            ("/".join(parts),),
        ).fetchone()
    if row is None or json.loads(row["connection"]).get("disabled"):
        return None
    match = _GITHUB.fullmatch(json.loads(row["body"])["remoteUri"])
    return git_repositories.find(world, match["owner"], match["name"]) if match else None


def map_app(world: World, project: Project, location: str, repository: git_repositories.Repository) -> None:
    """Connect a repository through the older GitHub app, which on Google only the console does."""
    with world.writing() as rows:
        rows.execute(
            "INSERT OR IGNORE INTO repository_mappings (project, location, repository) VALUES (?, ?, ?)",
            (project.id, location, repository.full_name),
        )
