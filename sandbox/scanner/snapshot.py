"""The advisories that scans use: the dated snapshot that ships with the workbook, or a newer one beside the state.

`workbook advisories refresh` writes the newer one, in the same form: {"taken", "source", "advisories": [OSV, …]}.
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

# What Google's extractor calls a package type, and OSV its ecosystem.
_ECOSYSTEMS: Final = {"PYPI": "PyPI", "NPM": "npm", "GO": "Go", "RUST": "crates.io"}
_DISTRIBUTIONS: Final = {"debian": "Debian", "ubuntu": "Ubuntu"}


class SnapshotBroken(ValueError):
    """A file of advisories can't be read. The message names it and says what to do."""


@dataclass(frozen=True)
class Snapshot:
    """Every file of advisories that counts; `taken` is the oldest file's day, since a result is no newer than that."""

    databases: tuple[Database, ...]

    @property
    def taken(self) -> str:
        """`2026-07-23`."""
        return min((database.taken for database in self.databases), default="")

    def match(self, package: Package, system: OperatingSystem | None) -> list[Match]:
        """Return what concerns a package, by identifier."""
        name = ecosystem(package.kind, system)
        found = [
            match
            for database in self.databases
            for match in (database.match(name, package.name, package.version) if name else ())
        ]
        return sorted({match.id: match for match in reversed(found)}.values(), key=lambda match: match.id)

    def about(self, identifier: str) -> list[advisories.Advisory]:
        """Every advisory with that identifier or alias that is not withdrawn."""
        return [
            one
            for database in self.databases
            for one in database.advisories
            if identifier in one.names and not one.withdrawn
        ]


def ecosystem(kind: str, system: OperatingSystem | None) -> str:
    """OSV's name: `PyPI`, `Debian:12`; empty for what no advisory names."""
    if kind == "OS" and system is not None:
        distribution = _DISTRIBUTIONS.get(system.id, "")
        return f"{distribution}:{system.version}" if distribution else ""
    return _ECOSYSTEMS.get(kind, "")


def load(folder: Path | None = None) -> Snapshot:
    """Return the shipped snapshot; each file in `folder` stands in for the shipped one of the same name.

    Raises:
        SnapshotBroken: for a file that is not what it should be.
    """
    files = {path.name: path for path in sorted(SHIPPED.glob("*.json"))}
    if folder is not None and folder.is_dir():
        files |= {path.name: path for path in sorted(folder.glob("*.json"))}
    return Snapshot(tuple(_read(path, path.stat().st_mtime_ns) for _, path in sorted(files.items())))


@functools.lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> Database:
    """Return a file's advisories; read again when the file has changed (`changed` is its time, for the cache)."""
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
