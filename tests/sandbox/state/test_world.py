"""Migrate state folders of older versions, and refuse those of unknown versions."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path

import pytest

from sandbox.artifact_registry import catalog
from sandbox.cloud_build import store
from sandbox.cloud_storage import objects
from sandbox.state import schema
from sandbox.state.clock import Clock
from sandbox.state.world import World

NAME = "projects/p-one/locations/us-central1/repositories/r"
# The tables that version 3 created at their first use
LAZY = ("past_policies", "identity_pools", "occurrences", "scans", "notes", "builds", "triggers", "run_services")
LAZY += ("run_revisions", "buckets", "objects", "secrets", "secret_versions", "log_entries", "counters")


def _folder_of_version_3(folder: Path, *there: str) -> None:
    """Write a state folder of version 3, with some of the tables that it created at their first use."""
    folder.mkdir()
    rows = sqlite3.connect(folder / "world.db")
    for statement in schema.TABLES.split(";\n"):
        made = re.match(r"\s*CREATE (?:TABLE (\w+)|INDEX \w+ ON (\w+))", statement)
        table = (made[1] or made[2]) if made else ""
        if table not in LAZY or table in there:
            rows.execute(statement)
    rows.execute("PRAGMA user_version = 3")
    rows.execute("INSERT INTO projects (id, number, name, create_time) VALUES ('p-one', '1', 'one', 'x')")
    rows.execute("INSERT INTO repositories VALUES (?, 'p-one', 'us-central1', 'r', '{}', 'x', 'x')", (NAME,))
    rows.execute("INSERT INTO packages (repository, id, create_time, update_time) VALUES (?, 'app', 'x', 'x')", (NAME,))
    rows.execute(
        "INSERT INTO versions (repository, package, digest, media_type, size, manifest_size, create_time, update_time)"
        " VALUES (?, 'app', 'sha256:a', 'm', 1, 1, 'x', 'x')",
        (NAME,),
    )
    rows.execute("INSERT INTO tags VALUES (?, 'app', 'v1', 'sha256:a', 'x', 'x')", (NAME,))
    rows.execute("INSERT INTO version_blobs VALUES (?, 'app', 'sha256:a', 'sha256:b')", (NAME,))
    rows.execute("INSERT INTO blobs VALUES ('sha256:a', 5, 'x'), ('sha256:b', 7, 'x')")
    rows.commit()
    rows.close()


@pytest.mark.parametrize("there", [(), ("builds", "triggers"), LAZY[:-1]], ids=["none", "builds", "all"])
def test_folder_of_version_3_is_migrated(tmp_path: Path, there: tuple[str, ...]) -> None:
    _folder_of_version_3(tmp_path / "state", *there)
    for _ in range(2):  # the second time there is nothing to migrate
        world = World(tmp_path / "state", Clock())
        with world.reading() as opened:
            assert opened.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION
            version = catalog.find_version(opened, NAME, "app", "sha256:a")
            assert version is not None
            assert version.tags == ("v1",)
            assert version.client_annotations == {}
            assert catalog.stored_bytes(opened, NAME) == 5 + 7
            assert objects.in_bucket(opened, "none") == []
        world.close()


def test_token_of_version_8_has_no_scopes(tmp_path: Path) -> None:
    _folder_of_version_3(tmp_path / "state", *LAZY[:-1])
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "world.db")) as rows, rows:
        rows.execute("ALTER TABLE tokens DROP COLUMN scopes")
        rows.execute("INSERT INTO tokens VALUES ('h', 'user:ana@example.com', 1)")
        rows.execute("PRAGMA user_version = 8")
    rows.close()
    world = World(tmp_path / "state", Clock())
    with world.reading() as opened:
        assert tuple(opened.execute("SELECT * FROM tokens").fetchone()) == ("h", "user:ana@example.com", 1, "")
    world.close()


def test_build_ids_of_version_3_are_not_reused(tmp_path: Path) -> None:
    """Version 3 derived a build's id from the number of builds, which could be the first id of version 4 again."""
    new = World(tmp_path / "new", Clock())
    with new.writing() as rows:
        first = store.new_id(rows, "p-one")
    new.close()
    _folder_of_version_3(tmp_path / "state", "builds")
    world = World(tmp_path / "state", Clock())
    with world.writing() as rows:
        assert store.new_id(rows, "p-one") != first
    world.close()


NEWER = schema.VERSION + 1


@pytest.mark.parametrize(("version", "words"), [(2, "use the workbook that wrote it"), (NEWER, "update the workbook")])
def test_folder_of_an_unknown_version_is_refused_unchanged(tmp_path: Path, version: int, words: str) -> None:
    _folder_of_version_3(tmp_path / "state")
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "world.db")) as rows, rows:
        rows.execute(f"PRAGMA user_version = {version}")
    rows.close()
    with pytest.raises(schema.WrongSchema, match=words):
        World(tmp_path / "state", Clock())
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "world.db")) as rows, rows:
        assert rows.execute("PRAGMA user_version").fetchone()[0] == version
        assert rows.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'builds'").fetchone()[0] == 0
    rows.close()
