"""The database schema, and the migration of older ones.

Version 3 created the tables of Cloud Build, Cloud Run, Storage, scans, secrets, pools and logs when they were first
needed, so a folder of that version may lack any of them. Version 4 had no metadata of objects. Version 5 had images
only, no files of packages. Version 7 added up a repository's size at each request.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

VERSION = 9
_CARRIED_OVER = (0, 3, 4, 5, 6, 7, 8, VERSION)  # 0 is a new folder

TABLES = """
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
    hash TEXT PRIMARY KEY, member TEXT NOT NULL, expires REAL NOT NULL, scopes TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
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
    create_time TEXT NOT NULL, update_time TEXT NOT NULL, annotations TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (repository, id)) WITHOUT ROWID;
CREATE TABLE versions (
    repository TEXT NOT NULL, package TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL,
    artifact_type TEXT NOT NULL DEFAULT '', subject TEXT NOT NULL DEFAULT '', size INTEGER NOT NULL,
    manifest_size INTEGER NOT NULL, annotations TEXT NOT NULL DEFAULT '{}', build_time TEXT NOT NULL DEFAULT '',
    create_time TEXT NOT NULL, update_time TEXT NOT NULL, client_annotations TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (repository, package, digest),
    FOREIGN KEY (repository, package) REFERENCES packages(repository, id) ON DELETE CASCADE) WITHOUT ROWID;
CREATE INDEX versions_by_create_time ON versions (repository, package, create_time);
CREATE INDEX versions_by_digest ON versions (repository, digest);
CREATE INDEX versions_by_upload ON versions (repository, create_time, package, digest);
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
CREATE TABLE package_files (
    repository TEXT NOT NULL, name TEXT NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL, blob TEXT NOT NULL,
    about TEXT NOT NULL DEFAULT '{}', create_time TEXT NOT NULL, PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, package, version) REFERENCES versions(repository, package, digest) ON DELETE CASCADE)
    WITHOUT ROWID;
CREATE INDEX package_files_by_version ON package_files (repository, package, version);
CREATE INDEX package_files_by_blob ON package_files (repository, blob);
CREATE TABLE remote_pages (
    repository TEXT NOT NULL REFERENCES repositories(name) ON DELETE CASCADE, path TEXT NOT NULL, page TEXT NOT NULL,
    fetch_time TEXT NOT NULL, PRIMARY KEY (repository, path)) WITHOUT ROWID;
CREATE TABLE stored_blobs (
    repository TEXT NOT NULL, digest TEXT NOT NULL, uses INTEGER NOT NULL, PRIMARY KEY (repository, digest))
    WITHOUT ROWID;
CREATE INDEX stored_blobs_by_digest ON stored_blobs (digest);
CREATE TABLE stored_bytes (
    repository TEXT PRIMARY KEY REFERENCES repositories(name) ON DELETE CASCADE, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE project_settings (project TEXT PRIMARY KEY REFERENCES projects(id), settings TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE past_policies (resource TEXT NOT NULL, policy TEXT NOT NULL, until TEXT NOT NULL);
CREATE TABLE identity_pools (name TEXT PRIMARY KEY, parent TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE occurrences (
    name TEXT PRIMARY KEY, project TEXT NOT NULL, location TEXT NOT NULL, resource TEXT NOT NULL, kind TEXT NOT NULL,
    occurrence TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX occurrences_by_resource ON occurrences (project, resource);
CREATE TABLE scans (name TEXT PRIMARY KEY, vulnerabilities TEXT NOT NULL, create_time TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, project TEXT NOT NULL, note TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE builds (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, project TEXT NOT NULL, location TEXT NOT NULL, build TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE triggers (
    id TEXT PRIMARY KEY, project TEXT NOT NULL, location TEXT NOT NULL, name TEXT NOT NULL, trigger TEXT NOT NULL,
    UNIQUE (project, location, name)) WITHOUT ROWID;

CREATE TABLE trigger_builds (
    event INTEGER NOT NULL, trigger TEXT NOT NULL, build TEXT NOT NULL, PRIMARY KEY (event, trigger)) WITHOUT ROWID;
CREATE TABLE build_connections (
    name TEXT PRIMARY KEY, project TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE build_repositories (
    name TEXT PRIMARY KEY, connection TEXT NOT NULL REFERENCES build_connections(name), body TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE repository_mappings (
    project TEXT NOT NULL, location TEXT NOT NULL, repository TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (project, location, repository)) WITHOUT ROWID;

CREATE TABLE git_users (login TEXT PRIMARY KEY COLLATE NOCASE) WITHOUT ROWID;
CREATE TABLE git_tokens (hash TEXT PRIMARY KEY, login TEXT NOT NULL COLLATE NOCASE) WITHOUT ROWID;
CREATE TABLE git_repositories (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
    private INTEGER NOT NULL, parent INTEGER NOT NULL, create_time TEXT NOT NULL, pusher TEXT NOT NULL DEFAULT '',
    UNIQUE (owner, name));
CREATE TABLE git_collaborators (
    repository INTEGER NOT NULL, login TEXT NOT NULL COLLATE NOCASE, permission TEXT NOT NULL,
    PRIMARY KEY (repository, login)) WITHOUT ROWID;
CREATE TABLE git_refs (
    repository INTEGER NOT NULL, ref TEXT NOT NULL, sha TEXT NOT NULL, target TEXT NOT NULL,
    PRIMARY KEY (repository, ref)) WITHOUT ROWID;
CREATE TABLE git_events (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, repository INTEGER NOT NULL, ref TEXT NOT NULL, old TEXT NOT NULL,
    new TEXT NOT NULL, actor TEXT NOT NULL, time TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE git_listeners (name TEXT PRIMARY KEY, heard INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE git_pull_requests (
    repository INTEGER NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (repository, number)) WITHOUT ROWID;
CREATE TABLE git_check_runs (
    id INTEGER PRIMARY KEY, repository INTEGER NOT NULL, sha TEXT NOT NULL, app TEXT NOT NULL,
    external_id TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (repository, sha, app, external_id));

CREATE TABLE workflow_variables (
    repository INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (repository, name)) WITHOUT ROWID;
CREATE TABLE workflow_runs (
    id INTEGER PRIMARY KEY, repository INTEGER NOT NULL, cause TEXT NOT NULL UNIQUE, body TEXT NOT NULL);

CREATE TABLE run_services (
    name TEXT PRIMARY KEY, project TEXT NOT NULL, location TEXT NOT NULL, service TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE run_revisions (
    name TEXT PRIMARY KEY, service TEXT NOT NULL REFERENCES run_services(name) ON DELETE CASCADE,
    number INTEGER NOT NULL, revision TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE buckets (
    name TEXT PRIMARY KEY, project TEXT NOT NULL, location TEXT NOT NULL, labels TEXT NOT NULL DEFAULT '{}',
    create_time TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE objects (
    bucket TEXT NOT NULL REFERENCES buckets(name), name TEXT NOT NULL, generation INTEGER NOT NULL, file TEXT NOT NULL,
    content_type TEXT NOT NULL, md5 TEXT NOT NULL, create_time TEXT NOT NULL,
    fields TEXT NOT NULL DEFAULT '{}', PRIMARY KEY (bucket, name)) WITHOUT ROWID;

CREATE TABLE secrets (name TEXT PRIMARY KEY, project TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE secret_versions (
    secret TEXT NOT NULL REFERENCES secrets(name) ON DELETE CASCADE, number INTEGER NOT NULL, create_time TEXT NOT NULL,
    state TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (secret, number)) WITHOUT ROWID;

CREATE TABLE log_entries (
    number INTEGER PRIMARY KEY, project TEXT NOT NULL, time TEXT NOT NULL, entry TEXT NOT NULL);
"""

# Triggers keep the size of each repository up to date, which counts each blob once. Rows of versions are inserted and
# deleted in many places, and by cascades.
_SIZE_TRIGGERS = {
    f"{table}_{event}": f"AFTER {event} ON {table} BEGIN {'; '.join(changes)}; END"
    for table, column in (("versions", "digest"), ("version_blobs", "blob"))
    for event, changes in (
        (
            "INSERT",
            (
                f"INSERT INTO stored_blobs VALUES (new.repository, new.{column}, 1)"  # noqa: S608
                " ON CONFLICT DO UPDATE SET uses = uses + 1",
            ),
        ),
        (
            "DELETE",
            (
                f"UPDATE stored_blobs SET uses = uses - 1 WHERE repository = old.repository AND digest = old.{column}",  # noqa: S608
                f"DELETE FROM stored_blobs WHERE repository = old.repository AND digest = old.{column} AND uses = 0",  # noqa: S608
            ),
        ),
    )
} | {
    "stored_blobs_INSERT": "AFTER INSERT ON stored_blobs BEGIN INSERT INTO stored_bytes VALUES (new.repository, ("
    "SELECT COALESCE(SUM(size), 0) FROM blobs WHERE digest = new.digest))"
    " ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes; END",
    "stored_blobs_DELETE": "AFTER DELETE ON stored_blobs BEGIN UPDATE stored_bytes SET bytes = bytes - ("
    "SELECT COALESCE(SUM(size), 0) FROM blobs WHERE digest = old.digest) WHERE repository = old.repository; END",
    "blobs_INSERT": "AFTER INSERT ON blobs BEGIN UPDATE stored_bytes SET bytes = bytes + new.size"
    " WHERE repository IN (SELECT repository FROM stored_blobs WHERE digest = new.digest); END",
    "blobs_DELETE": "AFTER DELETE ON blobs BEGIN UPDATE stored_bytes SET bytes = bytes - old.size"
    " WHERE repository IN (SELECT repository FROM stored_blobs WHERE digest = old.digest); END",
}


class WrongSchema(Exception):
    """A newer or a much older sandbox wrote the state folder; the message says what to do."""


def prepare(rows: sqlite3.Connection, folder: Path) -> None:
    """Create the missing tables, in the caller's transaction.

    Raises:
        WrongSchema: if this code cannot migrate the folder's schema.
    """
    found = int(rows.execute("PRAGMA user_version").fetchone()[0])
    if found not in _CARRIED_OVER:
        age = "a newer" if found > VERSION else "an older"
        raise WrongSchema(
            f"{folder} was written by {age} sandbox (schema {found}, this one knows {VERSION}); "
            f"{'update the workbook' if found > VERSION else 'use the workbook that wrote it'}, or start over with "
            "`workbook reset`"
        )
    if found == VERSION:
        return
    for statement in re.sub(r"CREATE (TABLE|INDEX)", r"CREATE \1 IF NOT EXISTS", TABLES).split(";\n"):
        if statement.strip():
            rows.execute(statement)
    if "fields" not in {row["name"] for row in rows.execute("PRAGMA table_info(objects)")}:
        rows.execute("ALTER TABLE objects ADD COLUMN fields TEXT NOT NULL DEFAULT '{}'")
    if "scopes" not in {row["name"] for row in rows.execute("PRAGMA table_info(tokens)")}:
        rows.execute("ALTER TABLE tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT ''")
    for name, trigger in _SIZE_TRIGGERS.items():
        rows.execute(f"CREATE TRIGGER IF NOT EXISTS {name} {trigger}")
    if 0 < found < 8:
        rows.execute(
            "INSERT INTO stored_blobs SELECT repository, digest, COUNT(*) FROM (SELECT repository, digest FROM versions"
            " UNION ALL SELECT repository, blob FROM version_blobs) GROUP BY repository, digest"
        )
    if found == 3:
        # Version 3 derived numbers from the number of rows.
        for table in ("builds", "triggers"):
            rows.execute(
                f"INSERT INTO counters SELECT '{table} of ' || id, 1000 + (SELECT COUNT(*) FROM {table})"  # noqa: S608
                " FROM projects"
            )
    rows.execute(f"PRAGMA user_version = {VERSION}")


def meta(rows: sqlite3.Connection, key: str) -> str | None:
    """Return a single value of the world, or None if it was never stored."""
    row = rows.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return row["value"] if row else None


def put_meta(rows: sqlite3.Connection, key: str, value: str) -> None:
    """Store a single value of the world."""
    rows.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def next_number(rows: sqlite3.Connection, name: str) -> int:
    """Increment a counter, in the caller's writing transaction, and return its value, which starts at 0."""
    row = rows.execute(
        "INSERT INTO counters (name, value) VALUES (?, 0) ON CONFLICT (name) DO UPDATE SET value = value + 1"
        " RETURNING value",
        (name,),
    ).fetchone()
    return int(row["value"])
