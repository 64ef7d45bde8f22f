"""Triggers fire: an event at the Git host becomes builds, each of them once.

A build and the note that this event began it are written in one transaction, so an event that is told twice, after a
crash, begins nothing twice.
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
_NODES = 50_000  # of a configuration


class BadConfig(Exception):
    """A build configuration that cannot be read; the text is the build's `statusDetail`."""


def account(trigger: Mapping[str, Any]) -> str:
    """Return the account that a trigger's builds run as; empty for the default."""
    return str(trigger.get("serviceAccount") or trigger.get("build", {}).get("serviceAccount", ""))


def repository_of(world: World, trigger: Mapping[str, Any]) -> Repository | None:
    """Return the repository that a trigger is about; None when it is about none, or not connected any more."""
    _, project_id, _, location, *_ = trigger["resourceName"].split("/")
    project = projects.find(world, project_id)
    if project is None or project.state != "ACTIVE":
        return None
    if trigger.get("github"):
        return connections.of_app(world, project.id, location, trigger["github"])
    if event := trigger.get("repositoryEventConfig"):
        return connections.of_resource(world, project, location, str(event.get("repository", "")))
    return None


def hear(world: World, event: Event) -> None:
    """Begin the builds that an event asks for."""
    change = _change(world, event)
    if change is None:
        return
    with world.reading() as rows:
        triggers = [json.loads(row["trigger"]) for row in rows.execute("SELECT trigger FROM triggers ORDER BY id")]
    for trigger in triggers:
        repository = repository_of(world, trigger)
        if repository is None or repository.id != event.repository.id:
            continue
        reason = matching.why_not(trigger, change)
        if reason:
            log.info("trigger %s does not fire: %s", trigger["name"], reason)
            continue
        _begin(world, event, trigger, change)


def _begin(world: World, event: Event, trigger: dict[str, Any], change: Change) -> None:
    _, project_id, _, location, *_ = trigger["resourceName"].split("/")
    project = projects.find(world, project_id)
    if project is None or not projects.is_enabled(world, project.id, _SERVICE):
        return
    with world.reading() as rows:
        begun = rows.execute(
            "SELECT 1 FROM trigger_builds WHERE event = ? AND trigger = ?", (event.number, trigger["id"])
        ).fetchone()
    if begun:
        return

    def note(rows: sqlite3.Connection, build: str) -> None:
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
    fired = Fired(trigger, values, source, by_event=True, noted=note)
    where = Where(world, project, location, "")
    try:
        starting.start(where, _asked(world, trigger, event.repository, event.new, {}), fired)
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
    """Start the build of a trigger on a repository, as if a branch, a tag or a commit had been pushed.

    Raises:
        ApiError: when there is no such revision, or the configuration cannot be read.
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
        return starting.start(where, _asked(where.world, trigger, repository, sha, given), fired)
    except BadConfig as error:
        raise invalid(str(error)) from None


def _change(world: World, event: Event) -> Change | None:
    """Return what a trigger looks at; None for what fires nothing."""
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
    who = event.actor if commented else detail["login"]
    said = detail.get("comment", "") if commented else detail.get("body", "")
    return Change(
        branch=detail["base"],
        files=files,
        message=message,
        pull_request=True,
        head=detail["head"],
        trusted=repositories.may_push(world, event.repository, detail["login"]),
        command=matching.COMMAND in said and repositories.may_push(world, event.repository, who),
        comment=commented,
    )


def _head_url(world: World, event: Event) -> str:
    number = event.detail.get("head_repository")
    head = repositories.by_id(world, int(number)) if number else None
    return f"https://github.com/{head.full_name}" if head else ""


def _asked(
    world: World, trigger: Mapping[str, Any], repository: Repository, sha: str, given: Mapping[str, str]
) -> dict[str, Any]:
    """Return the build that a trigger asks for: its own, or what its file in the repository says."""
    asked = dict(trigger["build"]) if trigger.get("build") else _config(world, repository, sha, trigger["filename"])
    asked["substitutions"] = {**asked.get("substitutions", {}), **trigger.get("substitutions", {}), **given}
    # The account of the trigger is the one that somebody was asked about.
    if account(trigger):
        asked["serviceAccount"] = account(trigger)
    return asked


def _config(world: World, repository: Repository, sha: str, path: str) -> dict[str, Any]:
    content = git.read(repository.folder(world), sha, path.lstrip("/"))
    if content is None:
        # unverified: the sentence
        raise BadConfig(f"failed to read build config {path}: no such file in {repository.full_name}@{sha}")
    # Not at the sandbox's start: most learners push nothing.
    import yaml  # type: ignore[import-untyped]

    try:
        found = yaml.safe_load(content.decode())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise BadConfig(f"failed unmarshalling build config {path}: yaml: {said}") from None
    if not isinstance(found, dict) or not _is_small(found):
        raise BadConfig(f"failed unmarshalling build config {path}: it is no build, or too large")  # unverified
    try:
        return messages.render(messages.parse(types.Build.pb(), found, "build"))
    except ApiError as error:
        raise BadConfig(f"failed unmarshalling build config {path}: {error.message}") from None


def _is_small(found: Any) -> bool:
    """Whether a document stays small when each alias in it is written out."""
    waiting, seen = [found], 0
    while waiting:
        one = waiting.pop()
        seen += 1
        if seen > _NODES:
            return False
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return True
