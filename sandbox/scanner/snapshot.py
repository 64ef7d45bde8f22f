"""The advisories for scans: the snapshot that ships with the workbook, or a newer one in the home folder.

`workbook advisories refresh` writes the newer one in the same form: {"taken", "source", "advisories": [OSV, …]}.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.scanner import advisories
from sandbox.scanner.advisories import Database, Match
from sandbox.scanner.inventory import Package
from sandbox.scanner.package_lists import OperatingSystem

SHIPPED: Final = Path(__file__).parent / "advisory_data"

# Package types of Google's extractor, and OSV's ecosystems
_ECOSYSTEMS: Final = {"PYPI": "PyPI", "NPM": "npm", "GO": "Go", "RUST": "crates.io"}
_DISTRIBUTIONS: Final = {"debian": "Debian", "ubuntu": "Ubuntu"}


class SnapshotBroken(ValueError):
    """A file of advisories can't be parsed. The message names it and says what to do."""


@dataclass(frozen=True)
class Snapshot:
    """The advisories of all files."""

    databases: tuple[Database, ...]

    @property
    def taken(self) -> str:
        """The date of the oldest file, `2026-07-23`, since the results are no newer than that."""
        return min((database.taken for database in self.databases), default="")

    def match(self, package: Package, system: OperatingSystem | None) -> list[Match]:
        """Return the vulnerabilities of a package, sorted by identifier."""
        name = ecosystem(package.kind, system)
        found = [
            match
            for database in self.databases
            for match in (database.match(name, package.name, package.version) if name else ())
        ]
        return sorted({match.id: match for match in reversed(found)}.values(), key=lambda match: match.id)

    def about(self, identifier: str) -> list[advisories.Advisory]:
        """Return the advisories with an identifier or alias, without withdrawn ones."""
        return [
            one
            for database in self.databases
            for one in database.advisories
            if identifier in one.names and not one.withdrawn
        ]


def ecosystem(kind: str, system: OperatingSystem | None) -> str:
    """Return OSV's ecosystem, `PyPI` or `Debian:12`; empty if there are no advisories for it."""
    if kind == "OS" and system is not None:
        distribution = _DISTRIBUTIONS.get(system.id, "")
        return f"{distribution}:{system.version}" if distribution else ""
    return _ECOSYSTEMS.get(kind, "")


def load(folder: Path | None = None) -> Snapshot:
    """Return the shipped snapshot, in which files in `folder` replace those of the same name.

    Raises:
        SnapshotBroken: if a file can't be parsed.
    """
    files = {path.name: path for path in sorted(SHIPPED.glob("*.json"))}
    if folder is not None and folder.is_dir():
        files |= {path.name: path for path in sorted(folder.glob("*.json"))}
    return Snapshot(tuple(_read(path, path.stat().st_mtime_ns) for _, path in sorted(files.items())))


@functools.lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> Database:
    """Return a file's advisories; `changed` is its modification time, a key of the cache."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Database(
            taken=str(content["taken"]),
            source=str(content["source"]),
            advisories=tuple(advisories.read(one) for one in content["advisories"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotBroken(
            f"{path} can't be read ({error}): remove it, or renew it with `workbook advisories refresh`"
        ) from None
