"""A state folder from an older schema goes on as it was, with what is new."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sandbox.artifact_registry import catalog
from sandbox.state.clock import Clock
from sandbox.state.world import SCHEMA, SCHEMA_VERSION, World

NAME = "projects/p-one/locations/us-central1/repositories/r"


def test_a_folder_of_the_first_schema_is_carried_over(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    rows = sqlite3.connect(tmp_path / "state" / "world.db")
    rows.executescript(SCHEMA)
    rows.execute("PRAGMA user_version = 1")
    rows.execute("INSERT INTO projects (id, number, name, create_time) VALUES ('p-one', '1', 'one', 'x')")
    rows.execute("INSERT INTO repositories VALUES (?, 'p-one', 'us-central1', 'r', '{}', 'x', 'x')", (NAME,))
    rows.execute("INSERT INTO packages VALUES (?, 'app', 'x', 'x')", (NAME,))
    rows.execute(
        "INSERT INTO versions (repository, package, digest, media_type, size, manifest_size, create_time, update_time)"
        " VALUES (?, 'app', 'sha256:a', 'm', 1, 1, 'x', 'x')",
        (NAME,),
    )
    rows.execute("INSERT INTO tags VALUES (?, 'app', 'v1', 'sha256:a', 'x', 'x')", (NAME,))
    rows.commit()
    rows.close()
    for _ in range(2):  # the second time there is nothing left to do
        world = World(tmp_path / "state", Clock())
        with world.reading() as opened:
            assert opened.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
            version = catalog.find_version(opened, NAME, "app", "sha256:a")
            assert version is not None
            assert version.tags == ("v1",)
            assert version.client_annotations == {}
        world.close()
