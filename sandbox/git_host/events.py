"""The events of the Git host: stored once, and delivered to every listener at least once."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.git_host import repositories
from sandbox.git_host.repositories import Repository
from sandbox.state.clock import timestamp
from sandbox.state.world import World

log = logging.getLogger("sandbox")


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        number: unique and increasing, so that a listener can be resumed after it.
        kind: `push` or `pull_request`.
        ref: for a push `refs/heads/…` or `refs/tags/…`, for a pull request `refs/pull/N/head`.
        old: the commit before, or 40 zeros for a new ref.
        new: the commit after, or 40 zeros for a deleted ref. For an annotated tag, its commit.
        actor: the login of the user who caused it.
        detail: for a pull request, its fields with `action` (opened, synchronize, reopened, closed, commented).
    """

    number: int
    kind: str
    repository: Repository
    ref: str
    old: str
    new: str
    actor: str
    time: str
    detail: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[World, Event], None]


class Events:
    """The listeners of one world, and the thread that delivers events to them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._listeners: dict[str, Listener] = {}
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def listen(self, name: str, listener: Listener) -> None:
        """Deliver all future events to a listener, and past ones that it has not received.

        Args:
            name: identifies the listener across restarts.
            listener: called in a thread in the order of the events, twice with the same event only after a crash.
        """
        with self._world.writing(tick=False) as rows:
            known = rows.execute("SELECT 1 FROM git_listeners WHERE name = ?", (name,)).fetchone()
            if known is None:
                last = rows.execute("SELECT COALESCE(MAX(number), 0) AS last FROM git_events").fetchone()["last"]
                rows.execute("INSERT INTO git_listeners (name, heard) VALUES (?, ?)", (name, last))
        self._listeners[name] = listener

    def wake(self) -> None:
        """Deliver new events now."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="git events")
            self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """Stop the delivery. It continues after the next start."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        while not self._stopped:
            self._wake.wait()
            self._wake.clear()
            for name in list(self._listeners):
                self._deliver(name)

    def _deliver(self, name: str) -> None:
        while not self._stopped:
            with self._world.reading() as rows:
                row = rows.execute(
                    "SELECT git_events.* FROM git_events JOIN git_listeners ON number > heard"
                    " WHERE git_listeners.name = ? ORDER BY number LIMIT 1",
                    (name,),
                ).fetchone()
            if row is None:
                return
            event = _of(self._world, row)
            if event is not None:
                try:
                    self._listeners[name](self._world, event)
                except Exception:
                    log.exception("%s failed with event %s", name, row["number"])
            with self._world.writing(tick=False) as rows:
                rows.execute("UPDATE git_listeners SET heard = ? WHERE name = ?", (row["number"], name))


def _of(world: World, row: sqlite3.Row) -> Event | None:
    repository = repositories.by_id(world, row["repository"])
    if repository is None:
        return None
    return Event(
        row["number"],
        row["kind"],
        repository,
        row["ref"],
        row["old"],
        row["new"],
        row["actor"],
        row["time"],
        json.loads(row["detail"]),
    )


def add(
    rows: sqlite3.Connection,
    world: World,
    repository: Repository,
    kind: str,
    ref: str,
    old: str,
    new: str,
    actor: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Store an event in the transaction that causes it. `Events.wake` then delivers it."""
    rows.execute(
        "INSERT INTO git_events (kind, repository, ref, old, new, actor, time, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (kind, repository.id, ref, old, new, actor, timestamp(world.now()), json.dumps(detail or {})),
    )
