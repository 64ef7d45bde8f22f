"""Check a world's rows, blobs and objects against each other, and repair on request what can be repaired.

Nothing else may have the world open. `workbook doctor` runs this as `python -m sandbox --check`.
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sandbox.artifact_registry import integrity
from sandbox.state.world import World


@dataclass(frozen=True)
class Finding:
    """A problem.

    Attributes:
        sentence: what is wrong, and what to do.
        repaired: whether it was repaired, or needs no action.
    """

    sentence: str
    repaired: bool


def look(world: World, *, repair: bool) -> list[Finding]:
    """Return all problems. Without `repair` nothing is changed."""
    with world.reading() as rows:
        found = list(_rows(rows))
        if found:
            # Other queries on a damaged database would be unreliable.
            return found
        sizes = {row["digest"]: row["size"] for row in rows.execute("SELECT digest, size FROM blobs")}
        found += list(_references(rows))
        found += list(_objects(world, rows))
    found += list(_blobs(world, sizes, repair=repair))
    found += list(_strays(world, sizes.keys(), repair=repair))
    return found


def _rows(rows: sqlite3.Connection) -> Iterator[Finding]:
    for row in rows.execute("PRAGMA integrity_check(20)"):
        if row[0] != "ok":
            yield Finding(f"The database is damaged: {row[0]}. Start over with `workbook reset`.", False)
    for row in rows.execute("PRAGMA foreign_key_check"):
        yield Finding(f"A row of {row[0]} refers to a row of {row[2]} that is not there.", False)


def _references(rows: sqlite3.Connection) -> Iterator[Finding]:
    """Yield versions whose manifest, config or layers the registry has lost."""
    needed = (
        "SELECT DISTINCT repository, package, digest AS version, digest AS blob FROM versions WHERE media_type != ''"
        " UNION SELECT repository, package, version, blob FROM version_blobs"
    )
    query = f"SELECT * FROM ({needed}) WHERE blob NOT IN (SELECT digest FROM blobs)"  # noqa: S608 - a constant
    for row in rows.execute(query):
        image = f"{row['repository']}/{row['package']}@{row['version']}"
        yield Finding(f"{image} needs {row['blob']}, which is not here. Push the image again.", False)


def _objects(world: World, rows: sqlite3.Connection) -> Iterator[Finding]:
    for row in rows.execute("SELECT bucket, name, file, md5 FROM objects"):
        path = world.folder / row["file"]
        if not path.is_file():
            yield Finding(f"The file of gs://{row['bucket']}/{row['name']} is missing. Upload it again.", False)
        elif row["md5"]:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
            if base64.b64encode(digest).decode() != row["md5"]:
                yield Finding(f"The file of gs://{row['bucket']}/{row['name']} is damaged. Upload it again.", False)


def _blobs(world: World, sizes: dict[str, int], *, repair: bool) -> Iterator[Finding]:
    for digest, size in sorted(sizes.items()):
        if integrity.is_sound(world, digest, size):
            continue
        with world.reading() as rows:
            users = rows.execute(
                "SELECT repository, package, version FROM version_blobs WHERE blob = ?"
                " UNION SELECT repository, package, digest FROM versions WHERE digest = ?",
                (digest, digest),
            ).fetchall()
        images = ", ".join(f"{row['repository']}/{row['package']}@{row['version']}" for row in users) or "no image"
        if repair:
            integrity.remove(world, digest)
        yield Finding(
            f"The bytes of {digest} are missing or damaged; it is part of {images}. "
            + ("The next push brings it back." if repair else "With --repair the next push brings it back."),
            repair,
        )


def _strays(world: World, known: Collection[str], *, repair: bool) -> Iterator[Finding]:
    for file in sorted((world.folder / "blobs").glob("*/*/*")):
        if f"{file.parent.parent.name}:{file.name}" not in known:
            if repair:
                file.unlink()
            yield Finding(f"{file} belongs to no blob" + (": removed." if repair else "; a start removes it."), repair)
