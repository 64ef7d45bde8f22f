"""`workbook doctor` on a world: what was damaged is found, and what can be mended is mended."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cli.world import starter
from sandbox.__main__ import NOT_WHOLE, main
from sandbox.artifact_registry import blobs, catalog
from sandbox.artifact_registry.catalog import Version
from sandbox.cloud_storage import objects
from sandbox.state.clock import Clock
from sandbox.state.world import World

REPOSITORY = "projects/p-one/locations/us-central1/repositories/r"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A world with one image of one layer, and one object."""
    world = World(tmp_path / "state", Clock())
    with world.writing() as rows:
        rows.execute("INSERT INTO projects (id, number, name, create_time) VALUES ('p-one', '1', 'one', 'x')")
        values = (REPOSITORY, "p-one", "us-central1", "r", "{}", "x", "x")
        rows.execute("INSERT INTO repositories VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        objects.make_bucket(rows, world, "bucket", "p-one")
    for content in (b"layer", b"manifest"):
        digest = blobs.digest_of(content)
        blobs.store(world, content, digest)
        with world.writing() as rows:
            blobs.record(rows, world, REPOSITORY, digest, len(content))
    version = Version(REPOSITORY, "app", digest, "m", "", "", 5, 8, {}, "", "", "")
    with world.writing() as rows:
        catalog.put_version(rows, world, version, blobs=[blobs.digest_of(b"layer")])
    part = objects.part(world)
    part.write_bytes(b"object")
    objects.keep(world, "bucket", "o", part, "text/plain")
    world.close()
    return tmp_path


def file_of(home: Path, content: bytes) -> Path:
    value = blobs.digest_of(content).partition(":")[2]
    return home / "state" / "blobs" / "sha256" / value[:2] / value


def test_a_whole_world_is_said_to_be_whole(home: Path) -> None:
    assert starter.check(home, repair=False) == starter.Checkup()
    assert starter.check(home / "nothing", repair=True) == starter.Checkup()


@pytest.mark.parametrize("content", [b"layer", b"manifest"])
@pytest.mark.parametrize("damage", ["other", "", None], ids=["changed", "emptied", "gone"])
def test_a_damaged_blob_is_found_with_its_image_and_mended(
    home: Path, content: bytes, damage: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process; the other tests check in one of their own, as the command does."""
    path = file_of(home, content)
    path.unlink() if damage is None else path.write_text(damage)
    check, repair = (["--home", str(home), option] for option in ("--check", "--repair"))
    assert main(check) == NOT_WHOLE
    [line] = capsys.readouterr().out.splitlines()
    assert blobs.digest_of(content) in line
    assert f"{REPOSITORY}/app@" in line
    assert path.exists() is (damage is not None)
    assert main(repair) == 0
    assert not path.exists()
    # It is not here until it is pushed again.
    assert main(check) == NOT_WHOLE


def test_an_object_and_a_stray_file(home: Path) -> None:
    stray = file_of(home, b"stray")
    stray.write_bytes(b"stray")
    [stored] = [path for path in (home / "state").rglob("*") if path.is_file() and path.read_bytes() == b"object"]
    stored.write_bytes(b"objekt")
    found = starter.check(home, repair=True)
    assert not found.whole
    assert [text for text in found.lines if "gs://bucket/o is damaged" in text]
    assert not stray.exists()


def test_a_damaged_database_is_said_to_be_one(home: Path) -> None:
    with contextlib.closing(sqlite3.connect(home / "state" / "world.db")) as rows, rows:
        rows.execute("PRAGMA foreign_keys = OFF")
        rows.execute("DELETE FROM projects")
    rows.close()
    found = starter.check(home, repair=True)
    assert not found.whole
    assert "refers to a row of projects that is not there" in found.lines[0]


def test_a_world_that_runs_is_left_alone(tmp_path: Path) -> None:
    starter.start(tmp_path, port=0)
    try:
        assert "runs" in starter.check(tmp_path, repair=False).lines[0]
        with pytest.raises(starter.WorldError, match="Stop it first"):
            starter.check(tmp_path, repair=True)
    finally:
        starter.stop(tmp_path)


def test_the_command_says_it(home: Path) -> None:
    file_of(home, b"layer").unlink()
    programs = Path(sys.executable).parent
    command = [programs / "workbook", "doctor", "--home", home, "--json"]
    # Without a gcloud, which would read all that it knows to check the notebooks' commands: test_commands.py does that.
    alone = os.environ | {"PATH": str(programs), "WORKBOOK_GCLOUD_HOME": str(home / "none")}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=alone)
    assert ran.returncode == 3, ran.stderr
    assert blobs.digest_of(b"layer") in ran.stdout
