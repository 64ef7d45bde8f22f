"""Scan each new digest once, if the API is enabled and the repository has scanning enabled.

Source: https://cloud.google.com/artifact-analysis/docs/container-scanning-overview (facts/artifact-registry.md 4): a
scan starts at push, moving a tag starts none, and images from before the API was enabled are not scanned.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import queue
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import IO, Any, Final

from sandbox.artifact_analysis import image_parts, occurrences
from sandbox.artifact_analysis.image_parts import NoImage
from sandbox.artifact_analysis.occurrences import Finding
from sandbox.artifact_registry import blobs, catalog, integrity
from sandbox.scanner import inventory, snapshot
from sandbox.scanner.inventory import Inventory, Unsupported
from sandbox.scanner.limits import LimitExceeded
from sandbox.scanner.snapshot import Snapshot
from sandbox.scanner.tar_reader import LayerUnreadable
from sandbox.state.clock import timestamp
from sandbox.state.world import World

SERVICE: Final = "containerscanning.googleapis.com"
_UNFINISHED: Final = ("PENDING", "SCANNING")
_PATIENCE: Final = 3.0  # seconds that `stop` waits for the running scan

log = logging.getLogger("sandbox")


def advisories(world: World) -> Snapshot:
    """Return the advisories of this world: those shipped with the workbook, or newer ones in its home folder."""
    return snapshot.load(world.folder.parent / "advisories")


def put(rows: sqlite3.Connection, occurrence: dict[str, Any]) -> None:
    """Store an occurrence, replacing one of the same name."""
    parts = occurrence["name"].split("/")
    location = parts[3] if parts[2] == "locations" else ""
    rows.execute(
        "INSERT OR REPLACE INTO occurrences (name, project, location, resource, kind, occurrence)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            occurrence["name"],
            parts[1],
            location,
            occurrence["resourceUri"],
            occurrence["kind"],
            json.dumps(occurrence),
        ),
    )


def get(rows: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """Return an occurrence by name, or None."""
    row = rows.execute("SELECT occurrence FROM occurrences WHERE name = ?", (name,)).fetchone()
    found: dict[str, Any] | None = json.loads(row["occurrence"]) if row else None
    return found


def resource_of(repository: catalog.Repository, version: catalog.Version) -> str:
    """Return an image's resource URI: `https://us-central1-docker.pkg.dev/P/R/I@sha256:…`."""
    return f"https://{repository.uri}/{version.package}@{version.digest}"


class Scanner:
    """Queue each pushed image in the push's own transaction, and scan it in a separate thread."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: queue.SimpleQueue[tuple[str, str, str] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="scanner", daemon=True)

    def start(self) -> None:
        """Start watching the world, and queue scans that a stop or a crash left unfinished."""
        self._world.watchers.append(self.on_version)
        with self._world.reading() as rows:
            found = rows.execute("SELECT * FROM versions").fetchall() if _has_unfinished(rows) else []
            for row in found:
                key = (row["repository"], row["package"], row["digest"])
                if _status(rows, *key) in _UNFINISHED:
                    self._waiting.put(key)
        self._thread.start()

    def stop(self) -> None:
        """Wait a short time for the running scan, and leave the others for the next start."""
        self._stopping.set()
        self._waiting.put(None)
        self._thread.join(timeout=_PATIENCE)

    def on_version(self, rows: sqlite3.Connection, version: catalog.Version) -> None:
        """Queue the scan of a new version, in the transaction that adds it."""
        repository = catalog.find_repository(rows, version.repository)
        if repository is None or not image_parts.is_image(version) or not _is_enabled(rows, repository):
            return
        parent = f"projects/{repository.project}/locations/{repository.location}"
        resource = resource_of(repository, version)
        name = occurrences.name_of(parent, resource, "DISCOVERY")
        if get(rows, name) is not None:
            return  # This digest was scanned before it was deleted and pushed again.
        now = self._world.now()
        put(rows, occurrences.discovery(parent, repository.location, resource, "PENDING", timestamp(now), now))
        self._waiting.put((version.repository, version.package, version.digest))

    def _work(self) -> None:
        while (key := self._waiting.get()) is not None and not self._stopping.is_set():
            try:
                self._wait_until_due(*key)
                self._scan(*key)
            except Exception:
                if self._stopping.is_set():
                    return  # The world was closed during a long scan, which the next start repeats.
                log.exception("the scan of %s/%s@%s failed", *key)

    def _wait_until_due(self, name: str, package: str, digest: str) -> None:
        """Keep the scan PENDING for some time of the sandbox's clock, if the sandbox is slow."""
        if not self._world.pace.scan:
            return
        with self._world.writing(tick=False) as rows:
            found = _discovery(rows, name, package, digest)
        if found:
            begun = dt.datetime.fromisoformat(found["createTime"])
            self._world.clock.wait_until(begun + self._world.pace.scan, self._stopping)

    def _scan(self, name: str, package: str, digest: str) -> None:
        # The single writer makes this wait for the push's transaction.
        with self._world.writing(tick=False) as rows:
            repository = catalog.find_repository(rows, name)
            version = catalog.find_version(rows, name, package, digest)
            if repository is None or version is None or _status(rows, name, package, digest) not in _UNFINISHED:
                return  # It was deleted, or the push was rolled back.
            resource = resource_of(repository, version)
            self._report(rows, repository, resource, "SCANNING")
        found: list[dict[str, Any]] = []
        status, error, kinds, taken = "FINISHED_SUCCESS", "", set[str](), ""
        try:
            with self._world.reading() as rows:
                parts = image_parts.find(self._world, rows, version)
            read = inventory.read([partial(_open, self._world, digest) for digest in parts.layers])
            known = advisories(self._world)
            kinds, taken = {one.kind for one in read.packages}, known.taken
            found = occurrences.vulnerabilities(
                f"projects/{repository.project}/locations/{repository.location}",
                resource,
                findings(read, known),
                read.system,
                self._world.now(),
                taken,
                parts.facts,
            )
        except (Unsupported, NoImage) as reason:
            status, error = "FINISHED_UNSUPPORTED", str(reason)
        except FileNotFoundError:
            # A foreign layer, or one that was deleted. The message must not contain this machine's path.
            status, error = "FINISHED_FAILED", "a layer of the image is not in the registry"
        except OSError as reason:
            status, error = "FINISHED_FAILED", f"a layer of the image cannot be read: {reason.strerror}"
        except (LayerUnreadable, LimitExceeded, snapshot.SnapshotBroken) as reason:
            status, error = "FINISHED_FAILED", str(reason)
        except Exception:
            log.exception("the scan of %s failed", resource)
            status, error = "FINISHED_FAILED", "the scanner failed; the sandbox's log has the reason"
        with self._world.writing(tick=False) as rows:
            for occurrence in found:
                put(rows, occurrence)
            self._report(rows, repository, resource, status, taken=taken, kinds=sorted(kinds), error=error)

    def _report(
        self,
        rows: sqlite3.Connection,
        repository: catalog.Repository,
        resource: str,
        status: str,
        *,
        taken: str = "",
        kinds: Sequence[str] = (),
        error: str = "",
    ) -> None:
        parent = f"projects/{repository.project}/locations/{repository.location}"
        before = get(rows, occurrences.name_of(parent, resource, "DISCOVERY"))
        now = self._world.now()
        put(
            rows,
            occurrences.discovery(
                parent,
                repository.location,
                resource,
                status,
                before["createTime"] if before else timestamp(now),
                now,
                taken=taken,
                kinds=kinds,
                error=error,
            ),
        )


def findings(read: Inventory, known: Snapshot) -> list[Finding]:
    """Return the matches of each package with the advisories."""
    return [Finding(package, match) for package in read.packages for match in known.match(package, read.system)]


def _open(world: World, digest: str) -> AbstractContextManager[IO[bytes]]:
    return integrity.path_of(world, blobs.check_digest(digest)).open("rb")


def _is_enabled(rows: sqlite3.Connection, repository: catalog.Repository) -> bool:
    enabled = rows.execute(
        "SELECT 1 FROM services WHERE project = ? AND service = ?", (repository.project, SERVICE)
    ).fetchone()
    config = repository.message.get("vulnerabilityScanningConfig") or {}
    return enabled is not None and config.get("enablementConfig") != "DISABLED"


def is_pending(world: World, project: str) -> bool:
    """Return whether the scan of an image in the project is unfinished."""
    with world.reading() as rows:
        return _has_unfinished(rows, project)


def _has_unfinished(rows: sqlite3.Connection, project: str = "") -> bool:
    found = rows.execute(
        "SELECT occurrence FROM occurrences WHERE kind = 'DISCOVERY' AND (? = '' OR project = ?)", (project, project)
    ).fetchall()
    return any(json.loads(row["occurrence"])["discovery"].get("analysisStatus") in _UNFINISHED for row in found)


def _status(rows: sqlite3.Connection, name: str, package: str, digest: str) -> str:
    found = _discovery(rows, name, package, digest)
    return str(found["discovery"].get("analysisStatus", "")) if found else ""


def _discovery(rows: sqlite3.Connection, name: str, package: str, digest: str) -> dict[str, Any] | None:
    repository = catalog.find_repository(rows, name)
    version = catalog.find_version(rows, name, package, digest)
    if repository is None or version is None:
        return None
    parent = f"projects/{repository.project}/locations/{repository.location}"
    return get(rows, occurrences.name_of(parent, resource_of(repository, version), "DISCOVERY"))
