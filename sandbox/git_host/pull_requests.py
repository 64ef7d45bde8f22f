"""Pull requests for a branch of the repository or of a fork.

Source: https://docs.github.com/en/rest/pulls/pulls
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from sandbox.git_host import events, git, repositories
from sandbox.git_host.repositories import Refused, Repository
from sandbox.state.clock import timestamp
from sandbox.state.world import World


def find(world: World, repository: Repository, number: int) -> dict[str, Any] | None:
    """Return a pull request by its number, or None."""
    with world.reading() as rows:
        return _find(rows, repository.id, number)


def _find(rows: sqlite3.Connection, repository: int, number: int) -> dict[str, Any] | None:
    row = rows.execute(
        "SELECT body FROM git_pull_requests WHERE repository = ? AND number = ?", (repository, number)
    ).fetchone()
    return json.loads(row["body"]) if row else None


def of(world: World, repository: Repository) -> list[dict[str, Any]]:
    """Return a repository's pull requests, newest first."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT body FROM git_pull_requests WHERE repository = ? ORDER BY number DESC", (repository.id,)
        ).fetchall()
    return [json.loads(row["body"]) for row in found]


def create(
    world: World, base: Repository, login: str, *, title: str, head: str, into: str, text: str = ""
) -> dict[str, Any]:
    """Open a pull request.

    Args:
        head: `BRANCH`, or `OWNER:BRANCH` for a branch of a fork.
        into: the base branch.
        text: the description.

    Raises:
        Refused: if a branch does not exist, nothing differs, or there is such a pull request already.
    """
    owner, _, branch = head.rpartition(":")
    source = _source(world, base, owner)
    head_sha = git.resolve(source.folder(world), f"refs/heads/{branch}") if source else ""
    base_sha = git.resolve(base.folder(world), f"refs/heads/{into}")
    if source is None or not head_sha:
        raise Refused("head is no branch of this repository or of a fork")
    if not base_sha:
        raise Refused("base is no branch of this repository")
    if head_sha == base_sha:
        raise Refused(f"No commits between {into} and {head}")
    with world.reading() as rows:
        last = rows.execute(
            "SELECT COALESCE(MAX(number), 0) AS last FROM git_pull_requests WHERE repository = ?", (base.id,)
        ).fetchone()["last"]
    for one in of(world, base):
        if one["state"] == "open" and (one["head_repository"], one["head"], one["base"]) == (source.id, branch, into):
            raise Refused(f"A pull request already exists for {source.owner}:{branch}.")
    number = last + 1
    _fetch(world, base, source, branch, number)
    pull = {
        "number": number,
        "title": title,
        "body": text,
        "state": "open",
        "login": login,
        "head": branch,
        "head_repository": source.id,
        "head_sha": head_sha,
        "base": into,
        "create_time": timestamp(world.now()),
    }
    with world.writing() as rows:
        try:
            _save(rows, base.id, pull, new=True)
        except sqlite3.IntegrityError:
            raise Refused("another pull request was opened meanwhile; try again") from None
        _add_event(rows, world, base, pull, "opened", git.ZERO, login)
    world.part(events.Events).wake()
    return pull


def change_state(world: World, base: Repository, number: int, state: str, login: str) -> dict[str, Any] | None:
    """Close a pull request or reopen it."""
    with world.writing() as rows:
        pull = _find(rows, base.id, number)
        if pull is None or pull["state"] == state:
            return pull
        pull["state"] = state
        _save(rows, base.id, pull)
        _add_event(rows, world, base, pull, "closed" if state == "closed" else "reopened", pull["head_sha"], login)
    world.part(events.Events).wake()
    return pull


def comment(world: World, base: Repository, pull: dict[str, Any], login: str, text: str) -> None:
    """Comment on a pull request. Listeners may react to commands in it, as Cloud Build does to /gcbrun."""
    with world.writing() as rows:
        _add_event(rows, world, base, pull, "commented", pull["head_sha"], login, {"comment": text})
    world.part(events.Events).wake()


def follow(world: World, source: Repository, ref: str) -> list[tuple[Repository, int]]:
    """Fetch a pushed branch into its open pull requests, and return these."""
    branch = ref.removeprefix("refs/heads/")
    if branch == ref:
        return []
    with world.reading() as rows:
        found = rows.execute("SELECT repository, body FROM git_pull_requests").fetchall()
    moved = []
    for row in found:
        pull = json.loads(row["body"])
        base = repositories.by_id(world, row["repository"])
        if base and pull["state"] == "open" and (pull["head_repository"], pull["head"]) == (source.id, branch):
            _fetch(world, base, source, branch, pull["number"])
            moved.append((base, int(pull["number"])))
    return moved


def moved(rows: sqlite3.Connection, world: World, base: Repository, number: int, sha: str, login: str) -> None:
    """Store a pull request's new commit, in the transaction of the push."""
    pull = _find(rows, base.id, number)
    if pull is None or pull["head_sha"] == sha:
        return
    old, pull["head_sha"] = pull["head_sha"], sha
    _save(rows, base.id, pull)
    _add_event(rows, world, base, pull, "synchronize", old, login)


def _source(world: World, base: Repository, owner: str) -> Repository | None:
    if not owner or owner.lower() == base.owner.lower():
        return base
    forks = (one for one in repositories.every(world) if one.parent == base.id)
    return next((one for one in forks if one.owner.lower() == owner.lower()), None)


def _fetch(world: World, base: Repository, source: Repository, branch: str, number: int) -> None:
    git.run(
        base.folder(world),
        "fetch",
        "--quiet",
        "--no-tags",
        str(source.folder(world)),
        f"+refs/heads/{branch}:refs/pull/{number}/head",
    )


def _save(rows: sqlite3.Connection, repository: int, pull: dict[str, Any], *, new: bool = False) -> None:
    verb = "INSERT" if new else "REPLACE"
    rows.execute(
        f"{verb} INTO git_pull_requests (repository, number, body) VALUES (?, ?, ?)",
        (repository, pull["number"], json.dumps(pull)),
    )


def _add_event(
    rows: sqlite3.Connection,
    world: World,
    base: Repository,
    pull: dict[str, Any],
    action: str,
    old: str,
    login: str,
    more: dict[str, str] | None = None,
) -> None:
    detail = {"action": action, **pull, **(more or {})}
    events.add(
        rows, world, base, "pull_request", f"refs/pull/{pull['number']}/head", old, pull["head_sha"], login, detail
    )
