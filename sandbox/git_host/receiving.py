"""Receive a push: its refs are on disk and its events are stored before git reports success.

The refs are compared with the stored ones, and the differences become events, in one transaction. So after a crash,
the same comparison at the next start finds the pushes without events.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping

from sandbox.git_host import events, git, pull_requests, repositories
from sandbox.git_host.repositories import Repository
from sandbox.state.world import World

log = logging.getLogger("sandbox")
_LOCK_SECONDS = 60.0


class BusyRepository(Exception):
    """Another push to the same repository is taking too long."""


@contextlib.contextmanager
def pushing(world: World, repository: Repository, actor: str) -> Iterator[int]:
    """Lock a repository for one push, and store the changes as events at the end.

    Yields the descriptor of the lock, which git inherits, so that git holds the lock even if the sandbox is killed.

    Raises:
        BusyRepository: if the lock is not free in time.
    """
    handle = os.open(repository.folder(world).with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(handle)
        # First store the events of an earlier push during which the sandbox was killed.
        _record(world, repository)
        if actor:
            with world.writing(tick=False) as rows:
                rows.execute("UPDATE git_repositories SET pusher = ? WHERE id = ?", (actor, repository.id))
        yield handle
        _record(world, repository)
    finally:
        os.close(handle)
    world.part(events.Events).wake()


def _lock(handle: int) -> None:
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise BusyRepository from None
            time.sleep(0.02)


def _record(world: World, repository: Repository) -> None:
    folder = repository.folder(world)
    now = git.refs(folder)
    with world.reading() as rows:
        found = rows.execute("SELECT ref, sha, target FROM git_refs WHERE repository = ?", (repository.id,)).fetchall()
    known = {row["ref"]: (row["target"], row["sha"]) for row in found}
    changes = [ref for ref in sorted({*now, *known}) if now.get(ref) != known.get(ref)]
    if not changes:
        return
    # Before the events, because their listeners read the pull requests' commits.
    follow = [(ref, pull_requests.follow(world, repository, ref)) for ref in changes if now.get(ref)]
    with world.writing() as rows:
        pusher = rows.execute("SELECT pusher FROM git_repositories WHERE id = ?", (repository.id,)).fetchone()["pusher"]
        for ref in changes:
            old, new = known.get(ref, ("", git.ZERO))[1], now.get(ref, ("", git.ZERO))[1]
            rows.execute("DELETE FROM git_refs WHERE repository = ? AND ref = ?", (repository.id, ref))
            if ref in now:
                rows.execute(
                    "INSERT INTO git_refs (repository, ref, sha, target) VALUES (?, ?, ?, ?)",
                    (repository.id, ref, new, now[ref][0]),
                )
            events.add(rows, world, repository, "push", ref, old, new, pusher)
        for ref, opened in follow:
            for base, number in opened:
                pull_requests.moved(rows, world, base, number, now[ref][1], pusher)
    _set_default_branch(repository, world, now)


def _set_default_branch(repository: Repository, world: World, now: Mapping[str, tuple[str, str]]) -> None:
    """Make the first pushed branch the default branch, as GitHub does."""
    folder = repository.folder(world)
    branches = [ref for ref in now if ref.startswith("refs/heads/")]
    head = git.run(folder, "symbolic-ref", "HEAD").decode().strip()
    if branches and head not in branches:
        git.run(folder, "symbolic-ref", "HEAD", branches[0])


def recover(world: World) -> None:
    """Store and deliver the events of pushes during which the sandbox ended."""
    for repository in repositories.every(world):
        try:
            with pushing(world, repository, ""):
                pass
        except (git.GitFailed, git.GitMissing, BusyRepository, OSError):
            log.exception("%s could not be looked at", repository.full_name)
    world.part(events.Events).wake()
