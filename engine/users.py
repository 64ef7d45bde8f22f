"""Look up users, groups and programs inside a container's root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine import trees
from engine.errors import Refused


@dataclass(frozen=True)
class User:
    """A user inside a root."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def _rows(root: Path, name: str) -> list[list[str]]:
    path = trees.resolve(root, name, last=True)
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    return [line.split(":") for line in text.splitlines() if line.count(":") >= 3]


def find(root: Path, text: str) -> User:
    """Return the user given as `NAME`, `UID`, `NAME:GROUP` or `UID:GID`. "" is root.

    Raises Refused for a name that isn't in the root's files.
    """
    name, _, group = (text or "0").partition(":")
    rows = _rows(root, "etc/passwd")
    row = next((one for one in rows if one[0] == name or (name.isdigit() and one[2] == name)), None)
    if row is None and not name.isdigit():
        raise Refused(f"unable to find user {name}: no matching entries in passwd file", 400)
    uid = int(row[2]) if row else int(name)
    gid = int(row[3]) if row else 0
    groups = _rows(root, "etc/group")
    if group:
        found = next((one for one in groups if one[0] == group), None)
        if found is None and not group.isdigit():
            raise Refused(f"unable to find group {group}: no matching entries in group file", 400)
        gid = int(found[2]) if found else int(group)
    more = () if group or not row else tuple(int(one[2]) for one in groups if row[0] in one[3].split(","))
    return User(uid, gid, more, row[5] if row and len(row) > 5 and row[5] else "/")


def owner(root: Path, text: str) -> User:
    """Return the user that `--chown` names. Raises Refused with the builder's message for an unknown name."""
    try:
        return find(root, text)
    except Refused:
        name, _, group = text.partition(":")
        kind, lost = ("uid for user", name) if _is_unknown(root, name) else ("gid for group", group)
        raise Refused(
            f"unable to convert uid/gid chown string to host mapping: can't find {kind} {lost}: "
            f"no such {kind.split()[-1]}: {lost}"
        ) from None


def _is_unknown(root: Path, name: str) -> bool:
    return not name.isdigit() and all(row[0] != name for row in _rows(root, "etc/passwd"))


def groups(root: Path, names: list[str]) -> list[int]:
    """Return the ids of groups given by name or id. Raises Refused for an unknown name."""
    rows = _rows(root, "etc/group")
    found = []
    for name in names:
        row = next((one for one in rows if one[0] == name), None)
        if row is None and not name.isdigit():
            raise Refused(f"unable to find group {name}: no matching entries in group file", 400)
        found.append(int(row[2]) if row else int(name))
    return found


def program(root: Path, name: str, environment: dict[str, str], cwd: str, binds: list[tuple[str, str]]) -> None:
    """Raise Refused with Docker's message if a program is missing or may not be executed."""
    folders = [""] if "/" in name else environment.get("PATH", "").split(":")
    for folder in folders:
        path = f"{folder}/{name}" if folder else name
        path = path if path.startswith("/") else f"{cwd}/{path}"
        for source, target in binds:
            if path == target or path.startswith(f"{target.rstrip('/')}/"):
                place = Path(source + path[len(target.rstrip("/")) :])
                break
        else:
            place = trees.resolve(root, path, last=True)
        if place.is_dir() and "/" in name:
            raise Refused(f'{_START}exec: "{name}": permission denied: unknown', 400)
        if place.is_file():
            if place.stat().st_mode & 0o111:
                return
            raise Refused(f'{_START}exec: "{name}": permission denied: unknown', 400)
    if "/" in name:
        raise Refused(f'{_START}exec: "{name}": stat {name}: no such file or directory: unknown', 400)
    raise Refused(f'{_START}exec: "{name}": executable file not found in $PATH: unknown', 400)


NO_TASK = "failed to create task for container: "
_START = f"{NO_TASK}unable to start container process: "
