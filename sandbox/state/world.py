"""The state of one sandbox: rows in SQLite, blobs as content-addressed files.

A change is either whole or not there: rows change inside one transaction, files are synced before the row that
names them is committed. One process owns a state folder, held by a lock that the kernel releases when it dies.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sandbox.state.clock import Clock
from sandbox.state.disk import sync_folder
from sandbox.state.pace import AT_ONCE, Pace

SCHEMA_VERSION = 3

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE projects (
    id TEXT PRIMARY KEY, number TEXT NOT NULL UNIQUE, name TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'ACTIVE',
    labels TEXT NOT NULL DEFAULT '{}', billing_account TEXT NOT NULL DEFAULT '', create_time TEXT NOT NULL);
CREATE TABLE services (
    project TEXT NOT NULL REFERENCES projects(id), service TEXT NOT NULL, enable_time TEXT NOT NULL,
    PRIMARY KEY (project, service)) WITHOUT ROWID;
CREATE TABLE service_accounts (
    email TEXT PRIMARY KEY, project TEXT NOT NULL REFERENCES projects(id), unique_id TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL DEFAULT '', description TEXT NOT NULL DEFAULT '', disabled INTEGER NOT NULL DEFAULT 0,
    create_time TEXT NOT NULL);
CREATE TABLE service_account_keys (
    id TEXT PRIMARY KEY, email TEXT NOT NULL REFERENCES service_accounts(email) ON DELETE CASCADE,
    public_key TEXT NOT NULL, create_time TEXT NOT NULL, expire_time TEXT NOT NULL);
CREATE TABLE tokens (
    hash TEXT PRIMARY KEY, member TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE policies (
    resource TEXT PRIMARY KEY, policy TEXT NOT NULL, etag TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE roles (
    name TEXT PRIMARY KEY, role TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE operations (
    name TEXT PRIMARY KEY, operation TEXT NOT NULL, create_time TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE budgets (
    name TEXT PRIMARY KEY, budget TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE repositories (
    name TEXT PRIMARY KEY, project TEXT NOT NULL REFERENCES projects(id), location TEXT NOT NULL, id TEXT NOT NULL,
    message TEXT NOT NULL, create_time TEXT NOT NULL, update_time TEXT NOT NULL);
CREATE TABLE packages (
    repository TEXT NOT NULL REFERENCES repositories(name) ON DELETE CASCADE, id TEXT NOT NULL,
    create_time TEXT NOT NULL, update_time TEXT NOT NULL,
    PRIMARY KEY (repository, id)) WITHOUT ROWID;
CREATE TABLE versions (
    repository TEXT NOT NULL, package TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL,
    artifact_type TEXT NOT NULL DEFAULT '', subject TEXT NOT NULL DEFAULT '', size INTEGER NOT NULL,
    manifest_size INTEGER NOT NULL, annotations TEXT NOT NULL DEFAULT '{}', build_time TEXT NOT NULL DEFAULT '',
    create_time TEXT NOT NULL, update_time TEXT NOT NULL,
    PRIMARY KEY (repository, package, digest),
    FOREIGN KEY (repository, package) REFERENCES packages(repository, id) ON DELETE CASCADE) WITHOUT ROWID;
CREATE INDEX versions_by_create_time ON versions (repository, package, create_time);
CREATE INDEX versions_by_subject ON versions (repository, package, subject) WHERE subject != '';
CREATE TABLE children (
    repository TEXT NOT NULL, package TEXT NOT NULL, parent TEXT NOT NULL, child TEXT NOT NULL,
    PRIMARY KEY (repository, package, parent, child),
    FOREIGN KEY (repository, package, parent) REFERENCES versions(repository, package, digest) ON DELETE CASCADE)
    WITHOUT ROWID;
CREATE INDEX children_by_child ON children (repository, package, child);
CREATE TABLE version_blobs (
    repository TEXT NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL, blob TEXT NOT NULL,
    PRIMARY KEY (repository, package, version, blob),
    FOREIGN KEY (repository, package, version) REFERENCES versions(repository, package, digest) ON DELETE CASCADE)
    WITHOUT ROWID;
CREATE INDEX version_blobs_by_blob ON version_blobs (blob);
CREATE TABLE tags (
    repository TEXT NOT NULL, package TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL,
    create_time TEXT NOT NULL, update_time TEXT NOT NULL,
    PRIMARY KEY (repository, package, id),
    FOREIGN KEY (repository, package, digest) REFERENCES versions(repository, package, digest)) WITHOUT ROWID;
CREATE INDEX tags_by_digest ON tags (repository, package, digest);

CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, create_time TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE repository_blobs (
    repository TEXT NOT NULL REFERENCES repositories(name) ON DELETE CASCADE,
    digest TEXT NOT NULL REFERENCES blobs(digest), create_time TEXT NOT NULL,
    PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX repository_blobs_by_digest ON repository_blobs (digest);
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, repository TEXT NOT NULL REFERENCES repositories(name) ON DELETE CASCADE,
    package TEXT NOT NULL, start_time TEXT NOT NULL) WITHOUT ROWID;
"""

# What each version of the schema changed; a new folder goes through all of them as well.
CHANGES = {
    2: """
ALTER TABLE packages ADD COLUMN annotations TEXT NOT NULL DEFAULT '{}';
ALTER TABLE versions ADD COLUMN client_annotations TEXT NOT NULL DEFAULT '{}';
CREATE INDEX versions_by_digest ON versions (repository, digest);
CREATE INDEX versions_by_upload ON versions (repository, create_time, package, digest);
CREATE TABLE project_settings (project TEXT PRIMARY KEY REFERENCES projects(id), settings TEXT NOT NULL) WITHOUT ROWID;
""",
    # Uploads are in memory: a restart ends them.
    3: "DROP TABLE uploads;\n",
}


class WorldLocked(Exception):
    """Another process owns this state folder."""


class WorldTooNew(Exception):
    """The state folder was written by a newer version of the sandbox."""


class World:
    """Rows and files of one sandbox.

    Args:
        folder: the state folder; made when it is not there.
        clock: the sandbox's time.

    Raises:
        WorldLocked: when another process has the folder open.
        WorldTooNew: when the folder's schema is newer than this code.
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
        # Called in the transaction that makes a version known: what must happen to every push, whichever way it came.
        self.watchers: list[Callable[[sqlite3.Connection, Any], None]] = []
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writer = threading.Lock()
        self._migrate()

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

    def _migrate(self) -> None:
        with self.writing() as rows:
            found = int(rows.execute("PRAGMA user_version").fetchone()[0])
            if found > SCHEMA_VERSION:
                raise WorldTooNew(
                    f"{self.folder} was written by a newer sandbox (schema {found}, this one knows {SCHEMA_VERSION}); "
                    "update the workbook, or start over with `workbook reset`"
                )
            steps = {1: SCHEMA, **CHANGES}
            for version in range(found + 1, SCHEMA_VERSION + 1):
                for statement in steps[version].split(";\n"):
                    if statement.strip():
                        rows.execute(statement)
            rows.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A consistent view of all rows."""
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
        """One transaction: on disk when the block ends, undone when it raises. Ticks a fixed clock.

        Args:
            tick: False for a job in the background, whose number of transactions depends on how fast it runs.
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
                # A commit that failed has left the transaction open, or ended it.
                with contextlib.suppress(sqlite3.OperationalError):
                    connection.execute("ROLLBACK")
                raise

    def now(self) -> dt.datetime:
        """The sandbox's time."""
        return self.clock.now()

    def asked_in_vain(self) -> None:
        """Somebody asked for what is on its way: the clock moves on by a step of the pace."""
        self.clock.advance(self.pace.step)

    def close(self) -> None:
        """Close every connection and let the folder go."""
        with self._writer:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._lock_file.close()


def _prepare(folder: Path) -> None:
    """Make the 256 folders that blobs lie in: made one by one, each would cost the push that needs it two syncs."""
    if folder.is_dir():
        return
    for number in range(256):
        (folder / f"{number:02x}").mkdir(parents=True, exist_ok=True)
    sync_folder(folder)
    sync_folder(folder.parent)
