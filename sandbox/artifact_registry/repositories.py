"""`projects.locations.repositories`: the repositories of images and packages.

Source: facts/artifact-registry.md 1.1 to 1.3 and 1.6 (recorded traffic).
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from google.cloud.artifactregistry_v1 import types

from sandbox.api import field_masks, lists, messages
from sandbox.api.methods import Call, Method
from sandbox.artifact_registry import catalog, formats, locations, operations, repository_modes, upstream_credentials
from sandbox.artifact_registry.cleanup_policies import MAX_POLICIES
from sandbox.artifact_registry.names import ID_PREFIX, REPOSITORIES, REPOSITORY_PATH, RESOURCE, TYPE
from sandbox.errors import ApiError, invalid, not_found, unimplemented
from sandbox.iam import policies as iam_policies
from sandbox.iam import policy_methods
from sandbox.state import projects
from sandbox.state.clock import timestamp
from sandbox.state.world import World

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_OUTPUT_ONLY = ("name", "createTime", "updateTime", "sizeBytes", "registryUri", "satisfiesPzs", "satisfiesPzi")
_IMMUTABLE = ("format", "mode", "kmsKeyName", "name")


def find(call: Call) -> catalog.Repository:
    """Return the repository in the path.

    Raises:
        ApiError: NOT_FOUND.
    """
    with call.world.reading() as rows:
        repository = catalog.find_repository(rows, RESOURCE.format(**call.params))
    if repository is None:
        raise not_found()
    return repository


def of_format(call: Call, kind: str) -> catalog.Repository:
    """Return the repository in the path, for a method of a single format.

    Raises:
        ApiError: NOT_FOUND; INVALID_ARGUMENT if it has another format (unverified: code and message).
    """
    repository = find(call)
    if repository.format != kind:
        raise invalid(f"The repository has the format {repository.format}, and this method is for {kind}.")
    return repository


def render(world: World, repository: catalog.Repository) -> dict[str, Any]:
    """Return the response of GET, which omits a sizeBytes of 0, as on Google."""
    with world.reading() as rows:
        size = catalog.stored_bytes(rows, repository.name)
    answer = {
        "name": repository.name,
        **repository.message,
        "createTime": repository.create_time,
        "updateTime": repository.update_time,
        "registryUri": repository.uri,
        "satisfiesPzi": True,
        "vulnerabilityScanningConfig": _scanning(world, repository),
    }
    if size:
        answer["sizeBytes"] = str(size)
    return answer


def _scanning(world: World, repository: catalog.Repository) -> dict[str, Any]:
    """Return the output fields as recorded on Google (facts 1.6), the reason for DISABLED as reported (2026)."""
    config = dict(repository.message.get("vulnerabilityScanningConfig", {}))
    if unsupported := _unsupported(repository):
        state = {"enablementState": "SCANNING_UNSUPPORTED", "enablementStateReason": unsupported}
    elif config.get("enablementConfig") == "DISABLED":
        state = {
            "enablementState": "SCANNING_DISABLED",
            "enablementStateReason": "Vulnerability scanning is disabled.",
        }
    elif projects.is_enabled(world, repository.project, "containerscanning.googleapis.com"):
        state = {"enablementState": "SCANNING_ACTIVE"}
    else:
        state = {
            "enablementState": "SCANNING_DISABLED",
            "enablementStateReason": "API containerscanning.googleapis.com is not enabled.",
        }
    return config | state | {"lastEnableTime": config.get("lastEnableTime", repository.create_time)}


def _unsupported(repository: catalog.Repository) -> str:
    """Return why a repository is never scanned. The message on a mode is recorded, the one on a format unverified."""
    if repository.mode == repository_modes.VIRTUAL:
        return f"Repository mode {repository.mode} is not supported."
    return "" if repository.format == "DOCKER" else f"Repository format {repository.format} is not supported."


def _check(body: Mapping[str, Any]) -> None:
    """Raise for invalid fields. The messages are unverified unless the facts quote them."""
    labels = body.get("labels", {})
    if len(labels) > 64:
        raise invalid("A repository has at most 64 labels.")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL.fullmatch(value):
            raise invalid(
                f"Invalid label {key}={value}: keys start with a lower-case letter; keys and values hold lower-case "
                "letters, digits, underscores and dashes, 63 at most."
            )
    repository_modes.check(body)
    policies = body.get("cleanupPolicies", {})
    if len(policies) > MAX_POLICIES:
        raise invalid(f"A repository has at most {MAX_POLICIES} cleanup policies, not {len(policies)}.")
    for name, policy in policies.items():
        _check_policy(name, policy)


def _check_upstreams(rows: sqlite3.Connection, message: Mapping[str, Any]) -> None:
    """Raise unless each upstream in Artifact Registry exists and has the same format.

    # unverified: code and messages. It is documented that a virtual repository cannot be an upstream.
    """
    remote = message.get("remoteRepositoryConfig", {})
    names = [policy["repository"] for policy in message.get("virtualRepositoryConfig", {}).get("upstreamPolicies", [])]
    address = repository_modes.upstream(message["format"], remote) if remote else ""
    if address.startswith("projects/") and not remote.get("disableUpstreamValidation", False):
        names.append(address)
    for name in names:
        found = catalog.find_repository(rows, name)
        if found is None or found.format != message["format"]:
            raise invalid(f"There is no repository {name} of the format {message['format']}.")
        if found.mode == repository_modes.VIRTUAL or (remote and found.mode != repository_modes.STANDARD):
            raise invalid(f"{name} is in the mode {found.mode}, and cannot be an upstream here.")


def _check_policy(name: str, policy: Mapping[str, Any]) -> None:
    if len(name) > 127 or not name:
        raise invalid(f"Invalid cleanup policy id {name[:140]!r}: 1 to 127 characters.")
    if policy.get("id", name) != name:
        raise invalid(f"Cleanup policy {name!r} has the id {policy['id']!r}; the two must be the same.")
    action = policy.get("action", "ACTION_UNSPECIFIED")
    if action == "ACTION_UNSPECIFIED":
        raise invalid(f"Cleanup policy {name!r} needs an action, DELETE or KEEP.")
    if ("condition" in policy) == ("mostRecentVersions" in policy):
        raise invalid(f"Cleanup policy {name!r} needs exactly one of condition and mostRecentVersions.")
    if "mostRecentVersions" in policy and action != "KEEP":
        raise invalid(f"Cleanup policy {name!r}: mostRecentVersions goes with the action KEEP only.")


def _parse(call: Call) -> dict[str, Any]:
    return messages.render(messages.parse(types.Repository.pb(), call.json(), "repository"))


def _create(call: Call) -> dict[str, Any]:
    repository_id = call.query.get("repositoryId") or call.query.get("repository_id") or ""
    locations.check(call.params["location"])
    if not repository_id:
        raise invalid("Request contains an invalid argument.")
    if re.fullmatch(r"(?:(?:us|eu|asia)\.)?gcr\.io", repository_id):
        raise unimplemented("repositories that serve gcr.io")
    if not _ID.fullmatch(repository_id):
        raise invalid(
            f"Invalid repository id {repository_id[:100]!r}: it starts with a lower-case letter, ends with a letter or "
            "a digit, and holds lower-case letters, digits and dashes, 63 at most."
        )
    body = _parse(call)
    if "format" not in body:
        raise invalid("Repository format must be specified.")
    if body["format"] not in formats.HOSTS:
        known = " and ".join(formats.HOSTS)
        raise unimplemented(f"a repository of the format {body['format']}; it keeps {known} only")
    mode = body.get("mode", "MODE_UNSPECIFIED")
    if mode == "MODE_UNSPECIFIED" and body.get("disallowUnspecifiedMode"):
        raise invalid("Repository mode must be specified.")
    body["mode"] = mode if mode != "MODE_UNSPECIFIED" else repository_modes.STANDARD
    if "mavenConfig" in body and body["format"] != "MAVEN":
        raise invalid(f'Maven config is not supported for format "{body["format"]}"')
    if "dockerConfig" in body and body["format"] != "DOCKER":
        # unverified: the sentence, after the one for Maven
        raise invalid(f'Docker config is not supported for format "{body["format"]}"')
    if "kmsKeyName" in body:
        raise unimplemented("a repository encrypted with a key of your own")
    _check(body)
    message = {key: value for key, value in body.items() if key not in _OUTPUT_ONLY}
    name = RESOURCE.format(**call.params, repository=repository_id)
    upstream_credentials.validate(call.world, call.params["project"], message)
    with call.world.writing() as rows:
        now = timestamp(call.world.now())
        _check_upstreams(rows, message)
        repository_modes.forget_input(message)
        try:
            rows.execute(
                "INSERT INTO repositories (name, project, location, id, message, create_time, update_time)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (name, call.params["project"], call.params["location"], repository_id, _dump(message), now, now),
            )
        except sqlite3.IntegrityError:
            raise ApiError("ALREADY_EXISTS", "the repository already exists") from None
        iam_policies.forget(rows, name)
        repository = catalog.Repository(
            name, call.params["project"], call.params["location"], repository_id, message, now, now
        )
        answer = {"@type": f"{TYPE}.Repository", "name": name, **message, "satisfiesPzi": True}
        answer["vulnerabilityScanningConfig"] = _scanning(call.world, repository)
        return operations.finish(rows, call, answer)


def _dump(message: Mapping[str, Any]) -> str:
    return json.dumps(dict(message), sort_keys=True)


def _get(call: Call) -> dict[str, Any]:
    return render(call.world, find(call))


def _list(call: Call) -> dict[str, Any]:
    locations.check(call.params["location"])
    source = lists.Source(
        "SELECT * FROM repositories WHERE project = ? AND location = ?",
        (call.params["project"], call.params["location"]),
        ("name",),
        {"create_time": "create_time", "update_time": "update_time"},
        {"name": lambda row: row["name"]},
    )
    with call.world.reading() as rows:
        found, token = lists.read(rows, source, call.query)
    answers = [_without_uri(render(call.world, catalog.Repository.of(row))) for row in found]
    return lists.answer("repositories", answers, token)


def _without_uri(answer: dict[str, Any]) -> dict[str, Any]:
    """Remove `registryUri`, which only GET returns: recorded on 2026-02-18 for a list and a patch."""
    return {key: value for key, value in answer.items() if key != "registryUri"}


def _patch(call: Call) -> dict[str, Any]:
    upstream_credentials.validate(call.world, call.params["project"], _patched(call))
    with call.world.writing() as rows:
        repository = find(call)
        message = _patched(call)
        _check_upstreams(rows, message)
        repository_modes.forget_input(message)
        rows.execute(
            "UPDATE repositories SET message = ?, update_time = ? WHERE name = ?",
            (_dump(message), timestamp(call.world.now()), repository.name),
        )
        return _without_uri(render(call.world, find(call)))


def _patched(call: Call) -> dict[str, Any]:
    message = _masked(dict(find(call).message), _parse(call), field_masks.of(call))
    _check(message)
    return message


def _masked(current: dict[str, Any], body: dict[str, Any], mask: str) -> dict[str, Any]:
    """Return the stored message after a patch.

    Clients that send the whole message may include immutable fields, unchanged.

    Raises:
        ApiError: INVALID_ARGUMENT for a path that does not exist or that cannot change.
    """
    if mask in ("", "*"):
        for key in _IMMUTABLE:
            if key in body and key != "name" and body[key] not in (current.get(key), "MODE_UNSPECIFIED"):
                raise invalid(f"The field {key} cannot change after the repository is created.")
    kind = types.Repository.pb().DESCRIPTOR
    may = {field.json_name for field in kind.fields} - {*_OUTPUT_ONLY, *_IMMUTABLE}
    changed = field_masks.apply(kind, current, body, mask, may=may)
    return changed | {key: current[key] for key in _IMMUTABLE if key in current}


def _delete(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        repository = find(call)
        catalog.remove_repository(rows, repository.name)
        iam_policies.forget(rows, repository.name)
        return operations.finish(rows, call)


def _in_location(name: str, verb: str, handle: Callable[[Call], dict[str, Any]]) -> Method:
    # The project's policy decides; three reports of 2024 and 2025 quote the location in the refusal.
    permissions = (f"artifactregistry.repositories.{name}",)
    shown = "projects/{project}/locations/{location}"
    return Method(f"{ID_PREFIX}.{name}", verb, REPOSITORIES, handle, permissions, shown=shown)


METHODS = (
    _in_location("create", "POST", _create),
    _in_location("list", "GET", _list),
    Method(f"{ID_PREFIX}.get", "GET", REPOSITORY_PATH, _get, ("artifactregistry.repositories.get",), RESOURCE),
    Method(
        f"{ID_PREFIX}.patch",
        "PATCH",
        REPOSITORY_PATH,
        _patch,
        ("artifactregistry.repositories.get", "artifactregistry.repositories.update"),
        RESOURCE,
    ),
    Method(
        f"{ID_PREFIX}.delete",
        "DELETE",
        REPOSITORY_PATH,
        _delete,
        ("artifactregistry.repositories.delete",),
        RESOURCE,
    ),
    *policy_methods.policy_methods(ID_PREFIX, REPOSITORY_PATH, RESOURCE, "artifactregistry.repositories", exists=find),
)
