"""Store services and revisions in the database, each as Knative's object in JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from sandbox import containers
from sandbox.state.world import World

Json = dict[str, Any]
_ADDRESS = re.compile(r"http://localhost:\d+/")
_changing = threading.Lock()


def resource(project: str, location: str, service: str) -> str:
    """Return `projects/P/locations/L/services/S`, which is also the key of the service's policy."""
    return f"projects/{project}/locations/{location}/services/{service}"


def _read(world: World, text: str) -> Json:
    """Return a service from its row, with the sandbox's current port in its addresses."""
    with contextlib.suppress(containers.EngineFailed):
        text = _ADDRESS.sub(f"http://{containers.address(world).registry}/", text)
    service: Json = json.loads(text)
    return service


def find(world: World, name: str) -> Json | None:
    """Return a service by its resource name, or None."""
    with world.reading() as rows:
        row = rows.execute("SELECT service FROM run_services WHERE name = ?", (name,)).fetchone()
    return _read(world, row["service"]) if row else None


def of_project(world: World, project: str, location: str = "-") -> list[tuple[str, Json]]:
    """Return a project's services with their resource names, in order."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT name, service FROM run_services WHERE project = ? AND (location = ? OR ? = '-') ORDER BY name",
            (project, location, location),
        ).fetchall()
    return [(row["name"], _read(world, row["service"])) for row in found]


def unfinished(world: World) -> list[str]:
    """Return the resource names of services whose deployment a stop or a crash interrupted."""
    with world.reading() as rows:
        found = rows.execute("SELECT name, service FROM run_services ORDER BY name").fetchall()
    return [row["name"] for row in found if is_unfinished(json.loads(row["service"]))]


def is_unfinished(found: Json) -> bool:
    """Return whether a service's or a revision's deployment is still running."""
    conditions = found["status"]["conditions"]
    return any(entry["type"] == "Ready" and entry["status"] == "Unknown" for entry in conditions)


def add(rows: sqlite3.Connection, name: str, service: Json) -> None:
    """Insert a service, or raise sqlite3.IntegrityError if it exists."""
    _, project, _, location, _, _ = name.split("/")
    rows.execute(
        "INSERT INTO run_services (name, project, location, service) VALUES (?, ?, ?, ?)",
        (name, project, location, json.dumps(service)),
    )


def change(world: World, name: str, how: Callable[[Json], None], *, tick: bool = False) -> Json | None:
    """Change a service in one transaction and return it, or None if it does not exist."""
    with _changing, world.writing(tick=tick) as rows:
        row = rows.execute("SELECT service FROM run_services WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        service = _read(world, row["service"])
        how(service)
        rows.execute("UPDATE run_services SET service = ? WHERE name = ?", (json.dumps(service), name))
        return service


def remove(rows: sqlite3.Connection, name: str) -> None:
    """Remove a service and its revisions."""
    rows.execute("DELETE FROM run_services WHERE name = ?", (name,))


def revision_name(service_resource: str, revision: str) -> str:
    """Return `projects/P/locations/L/services/S/revisions/R`."""
    return f"{service_resource}/revisions/{revision}"


def next_name(world: World, service_resource: str) -> tuple[int, str]:
    """Return the number and the name of a service's next revision: `ml-predictor-00002-kib`."""
    with world.reading() as rows:
        row = rows.execute(
            "SELECT COALESCE(MAX(number), 0) + 1 AS next FROM run_revisions WHERE service = ?", (service_resource,)
        ).fetchone()
    number = int(row["next"])
    digest = hashlib.sha256(f"{service_resource}/{number}".encode()).digest()
    consonants, vowels = "bcdfghjklmnpqrstvwxz", "aeiou"
    suffix = f"{consonants[digest[0] % 20]}{vowels[digest[1] % 5]}{consonants[digest[2] % 20]}"
    return number, f"{service_resource.rpartition('/')[2]}-{number:05d}-{suffix}"


def add_revision(world: World, service_resource: str, number: int, revision: Json) -> None:
    """Insert a revision, or raise sqlite3.IntegrityError if its name is taken."""
    name = revision_name(service_resource, revision["metadata"]["name"])
    with world.writing(tick=False) as rows:
        rows.execute(
            "INSERT INTO run_revisions (name, service, number, revision) VALUES (?, ?, ?, ?)",
            (name, service_resource, number, json.dumps(revision)),
        )


def find_revision(world: World, name: str) -> Json | None:
    """Return a revision by its resource name, or None."""
    with world.reading() as rows:
        row = rows.execute("SELECT revision FROM run_revisions WHERE name = ?", (name,)).fetchone()
    return json.loads(row["revision"]) if row else None


def save_revision(world: World, name: str, revision: Json) -> None:
    """Replace a revision."""
    with world.writing(tick=False) as rows:
        rows.execute("UPDATE run_revisions SET revision = ? WHERE name = ?", (json.dumps(revision), name))


def revisions(world: World, service_resource: str) -> list[Json]:
    """Return a service's revisions, newest first."""
    with world.reading() as rows:
        found = rows.execute(
            "SELECT revision FROM run_revisions WHERE service = ? ORDER BY number DESC", (service_resource,)
        ).fetchall()
    return [json.loads(row["revision"]) for row in found]


def remove_revision(rows: sqlite3.Connection, name: str) -> None:
    """Remove one revision."""
    rows.execute("DELETE FROM run_revisions WHERE name = ?", (name,))


def url(world: World, service: str, number: str, location: str) -> str:
    """Return a service's address: on the plain port, or Google's if the sandbox was started to use those."""
    address = containers.address(world)
    name = f"{service}-{number}.{location}.run.app"
    return f"https://{name}" if address.google_urls else f"http://{address.registry}/{name}"
