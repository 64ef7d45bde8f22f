"""Start the builds of triggers: once per event at the Git host, or by hand.

A build and the row that connects it to its event are written in one transaction. So an event that is delivered again
after a crash starts no second build.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any

from google.cloud.devtools.cloudbuild_v1 import types

from sandbox.api import messages
from sandbox.cloud_build import connections, matching, starting
from sandbox.cloud_build.matching import Change
from sandbox.cloud_build.starting import Fired, Where
from sandbox.errors import ApiError, invalid
from sandbox.git_host import git, repositories
from sandbox.git_host.events import Event
from sandbox.git_host.repositories import Repository
from sandbox.state import projects
from sandbox.state.world import World

log = logging.getLogger("sandbox")
_SERVICE = "cloudbuild.googleapis.com"
_MAX_NODES = 50_000  # values in a build configuration, aliases expanded


class BadConfig(Exception):
    """A build configuration that cannot be read. The message is the build's `statusDetail`."""


def account(trigger: Mapping[str, Any]) -> str:
    """Return the account that a trigger's builds run as, or "" for the default account."""
    return str(trigger.get("serviceAccount") or trigger.get("build", {}).get("serviceAccount", ""))


def repository_of(world: World, trigger: Mapping[str, Any]) -> Repository | None:
    """Return a trigger's repository, or None if it has none or the repository is no longer connected."""
    _, project_id, _, location, *_ = trigger["resourceName"].split("/")
    project = projects.find(world, project_id)
    if project is None or project.state != "ACTIVE":
        return None
    if trigger.get("github"):
        return connections.of_app(world, project.id, location, trigger["github"])
    if event := trigger.get("repositoryEventConfig"):
        return connections.of_resource(world, project, location, str(event.get("repository", "")))
    return None


def on_event(world: World, event: Event) -> None:
    """Start the build of every trigger that an event fires."""
    change = _change(world, event)
    if change is None:
        return
    with world.reading() as rows:
        triggers = [json.loads(row["trigger"]) for row in rows.execute("SELECT trigger FROM triggers ORDER BY id")]
    for trigger in triggers:
        repository = repository_of(world, trigger)
        if repository is None or repository.id != event.repository.id:
            continue
        if reason := matching.why_not(trigger, change):
            log.info("trigger %s does not fire: %s", trigger["name"], reason)
        else:
            _fire(world, event, trigger, change)


def _fire(world: World, event: Event, trigger: dict[str, Any], change: Change) -> None:
    _, project_id, _, location, *_ = trigger["resourceName"].split("/")
    project = projects.find(world, project_id)
    if project is None or not projects.is_enabled(world, project.id, _SERVICE):
        return
    with world.reading() as rows:
        started = rows.execute(
            "SELECT 1 FROM trigger_builds WHERE event = ? AND trigger = ?", (event.number, trigger["id"])
        ).fetchone()
    if started:
        return

    def record(rows: sqlite3.Connection, build: str) -> None:
        rows.execute(
            "INSERT INTO trigger_builds (event, trigger, build) VALUES (?, ?, ?)", (event.number, trigger["id"], build)
        )

    values = matching.substitutions(
        trigger,
        change,
        commit=event.new,
        repository=event.repository.full_name,
        number=int(event.detail.get("number", 0)),
        head_url=_head_url(world, event),
    )
    source = {"url": event.repository.url, "revision": event.new}
    fired = Fired(trigger, values, source, by_event=True, on_recorded=record)
    where = Where(world, project, location, "")
    try:
        starting.start(where, _build(world, trigger, event.repository, event.new, {}), fired)
    except (BadConfig, ApiError) as error:
        starting.fail(where, fired, error.message if isinstance(error, ApiError) else str(error))


def by_hand(
    where: Where,
    trigger: dict[str, Any],
    repository: Repository,
    *,
    branch: str,
    tag: str,
    commit: str,
    given: Mapping[str, str],
) -> dict[str, Any]:
    """Start the build of a trigger on a branch, a tag or a commit of its repository.

    Raises:
        ApiError: if the revision does not exist, or the configuration cannot be read.
    """
    folder = repository.folder(where.world)
    ref = f"refs/heads/{branch}" if branch else f"refs/tags/{tag}" if tag else commit
    sha = git.resolve(folder, ref)
    if not sha:
        # unverified: the sentence
        raise invalid(f"could not resolve source: revision {branch or tag or commit or '(none)'} not found")
    change = Change(branch=branch, tag=tag, message=git.commit(folder, sha).message)
    values = matching.substitutions(trigger, change, commit=sha, repository=repository.full_name)
    fired = Fired(trigger, values, {"url": repository.url, "revision": sha})
    try:
        return starting.start(where, _build(where.world, trigger, repository, sha, given), fired)
    except BadConfig as error:
        raise invalid(str(error)) from None


def _change(world: World, event: Event) -> Change | None:
    """Return the event as triggers match it, or None if it fires no trigger."""
    folder = event.repository.folder(world)
    if event.new == git.ZERO:
        return None
    message = git.commit(folder, event.new).message
    if event.kind == "push":
        branch = event.ref.removeprefix("refs/heads/") if event.ref.startswith("refs/heads/") else ""
        tag = event.ref.removeprefix("refs/tags/") if event.ref.startswith("refs/tags/") else ""
        files = tuple(git.changed(folder, event.old, event.new))
        return Change(branch=branch, tag=tag, files=files, message=message)
    detail = event.detail
    if detail["action"] == "closed" or detail["state"] != "open":
        return None
    base = git.resolve(folder, f"refs/heads/{detail['base']}")
    files = tuple(git.changed(folder, git.merge_base(folder, base, event.new) if base else git.ZERO, event.new))
    commented = detail["action"] == "commented"
    author = event.actor if commented else detail["login"]
    text = detail.get("comment", "") if commented else detail.get("body", "")
    return Change(
        branch=detail["base"],
        files=files,
        message=message,
        pull_request=True,
        head=detail["head"],
        trusted=repositories.may_push(world, event.repository, detail["login"]),
        command=matching.COMMAND in text and repositories.may_push(world, event.repository, author),
        comment=commented,
    )


def _head_url(world: World, event: Event) -> str:
    number = event.detail.get("head_repository")
    head = repositories.by_id(world, int(number)) if number else None
    return f"https://github.com/{head.full_name}" if head else ""


def _build(
    world: World, trigger: Mapping[str, Any], repository: Repository, sha: str, given: Mapping[str, str]
) -> dict[str, Any]:
    """Return a trigger's build, from the trigger itself or from its file in the repository."""
    build = trigger.get("build") or _config(world, repository, sha, trigger["filename"])
    return with_trigger_settings(build, trigger, given)


def with_trigger_settings(
    build: Mapping[str, Any], trigger: Mapping[str, Any], given: Mapping[str, str]
) -> dict[str, Any]:
    """Return the build with the trigger's account and with the substitutions of build, trigger and caller."""
    values = {**build.get("substitutions", {}), **trigger.get("substitutions", {}), **given}
    # Not an account from the file: only the trigger's has been checked.
    named = {"serviceAccount": account(trigger)} if account(trigger) else {}
    return {**build, "substitutions": values, **named}


def _config(world: World, repository: Repository, sha: str, path: str) -> dict[str, Any]:
    content = git.read(repository.folder(world), sha, path.lstrip("/"))
    if content is None:
        # unverified: the sentence
        raise BadConfig(f"failed to read build config {path}: no such file in {repository.full_name}@{sha}")
    # Imported here because most sandboxes never need it, and it slows the start.
    import yaml  # type: ignore[import-untyped]

    try:
        found = yaml.safe_load(content.decode())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise BadConfig(f"failed unmarshalling build config {path}: yaml: {reason}") from None
    if not isinstance(found, dict) or not _is_small(found):
        raise BadConfig(f"failed unmarshalling build config {path}: it is no build, or too large")  # unverified
    try:
        return messages.render(messages.parse(types.Build.pb(), found, "build"))
    except ApiError as error:
        raise BadConfig(f"failed unmarshalling build config {path}: {error.message}") from None


def _is_small(found: Any) -> bool:
    """Return whether a document is small even with its aliases expanded."""
    stack, seen = [found], 0
    while stack and seen <= _MAX_NODES:
        node = stack.pop()
        seen += 1
        if isinstance(node, dict):
            stack += node.values()
        elif isinstance(node, list):
            stack += node
    return seen <= _MAX_NODES
