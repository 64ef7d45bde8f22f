"""The state of one sandbox: rows in SQLite, blobs as content-addressed files.

Changes are atomic: rows change in one transaction, and files are synced before the row that names them is committed.
One process owns a state folder by a lock, which the kernel releases when the process dies.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sandbox.state import schema
from sandbox.state.clock import Clock
from sandbox.state.disk import sync_folder
from sandbox.state.pace import AT_ONCE, Pace

T = TypeVar("T")


class WorldLocked(Exception):
    """Another process owns the state folder."""


class World:
    """Rows and files of one sandbox.

    Args:
        folder: the state folder; created if it is missing.
        clock: the sandbox's clock.

    Raises:
        WorldLocked: if another process owns the folder.
        WrongSchema: if this code cannot migrate the folder's schema.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.clock = clock
        self.pace: Pace = AT_ONCE
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in ("blobs", "uploads"):
            (folder / part).mkdir(exist_ok=True)
        _prepare(folder / "blobs" / "sha256")
        self._lock_file = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock_file.close()
            raise WorldLocked(f"another sandbox is using {folder}; stop it first, or choose another home") from None
        # Called in the transaction that adds a version of an image.
        self.watchers: list[Callable[[sqlite3.Connection, Any], None]] = []
        # Called with an account's e-mail address after its credentials were revoked, outside a transaction.
        self.account_watchers: list[Callable[[str], None]] = []
        self._parts: dict[Callable[[World], Any], Any] = {}
        self._parts_lock = threading.RLock()
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writer = threading.Lock()
        try:
            with self.writing() as rows:
                schema.prepare(rows, folder)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            # Autocommit mode: transactions are opened and closed by `reading` and `writing` alone.
            connection = sqlite3.connect(self.folder / "world.db", isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA busy_timeout = 5000")
            self._local.connection = connection
            with self._writer:
                self._connections.append(connection)
        return connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction for reading, or continue this thread's open one."""
        connection = self._connect()
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self, *, tick: bool = True) -> Iterator[sqlite3.Connection]:
        """Open a transaction for writing, which is rolled back if the block raises. Ticks a fixed clock.

        Args:
            tick: False for a background job, whose number of transactions depends on its speed.
        """
        connection = self._connect()
        if connection.in_transaction:
            raise RuntimeError("a transaction is already open in this thread")
        with self._writer:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if tick:
                    self.clock.tick()
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # After a failed commit the transaction may be open or closed.
                with contextlib.suppress(sqlite3.OperationalError):
                    connection.execute("ROLLBACK")
                raise

    def now(self) -> dt.datetime:
        """Return the sandbox's time."""
        return self.clock.now()

    def nudge_clock(self) -> None:
        """Advance the clock by a step of the pace, when a caller polled for something that is not in effect yet."""
        self.clock.advance(self.pace.step)

    def end_account(self, email: str) -> None:
        """Call the watchers, which stop processes that run as an account."""
        for watch in self.account_watchers:
            watch(email)

    def part(self, kind: Callable[[World], T]) -> T:
        """Return the world's single in-memory object of a kind, created by `kind(world)` at the first call.

        If it has a method `close`, the world closes it.
        """
        with self._parts_lock:
            if kind not in self._parts:
                self._parts[kind] = kind(self)
            found: T = self._parts[kind]
            return found

    def close(self) -> None:
        """Close the parts and every connection, and release the folder."""
        for part in self._parts.values():
            if hasattr(part, "close"):
                part.close()
        with self._writer:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._lock_file.close()


def _prepare(folder: Path) -> None:
    """Create the 256 folders of blobs: later, each would cost a push two syncs."""
    if folder.is_dir():
        return
    for number in range(256):
        (folder / f"{number:02x}").mkdir(parents=True, exist_ok=True)
    sync_folder(folder)
    sync_folder(folder.parent)
