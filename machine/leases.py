"""Who needs the private engine: one small file for each process, `NAME.json` in a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

from machine import processes


def write(folder: Path, name: str, pid: int) -> None:
    """Enter a lease for as long as process `pid` lives. Raises ValueError for a name that can't name a file."""
    path = _path(folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    # Pids are reused. With its start time, a pid names one process only.
    path.write_text(json.dumps({"pid": pid, "born": processes.born(pid)}))


def drop(folder: Path, name: str) -> None:
    """Delete a lease; nothing happens when there is none."""
    _path(folder, name).unlink(missing_ok=True)


def living(folder: Path) -> dict[str, int]:
    """Return the pids of living processes that hold a lease, by name. Delete the leases of dead ones."""
    counted = {}
    for path in sorted(folder.glob("*.json")):
        pid = _holder(path)
        if pid is None:
            path.unlink(missing_ok=True)
        else:
            counted[path.stem] = pid
    return counted


def _holder(path: Path) -> int | None:
    try:
        content = json.loads(path.read_text())
        pid = int(content["pid"])
        return pid if processes.is_the_one(pid, content["born"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(folder: Path, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name):
        raise ValueError(f"{name!r} can't name a lease: use letters, digits, dots and dashes.")
    return folder / f"{name}.json"
