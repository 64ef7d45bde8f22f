"""The places of a room: its folder, the class list, and each learner's home."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from helpers.target import ROOT

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")


class BadRoom(Exception):
    """The room can't be opened with these settings; the message says what to do."""


def folder() -> Path:
    """Return the room's folder: WORKBOOK_ROOM, or one beside the learner's own sandbox."""
    return Path(os.environ.get("WORKBOOK_ROOM") or ROOT / ".sandbox" / "room").resolve()


def home(name: str) -> Path:
    """Return the folder of a learner's world and notebooks.

    Raises:
        BadRoom: for a name that no learner can have.
    """
    return folder() / "learners" / checked(name)


def lead() -> str:
    """Return the name under which the lead signs in: WORKBOOK_LEAD, or `lead`."""
    return checked(os.environ.get("WORKBOOK_LEAD") or "lead")


def learners() -> tuple[str, ...]:
    """Return the names of the class list, in its order.

    Raises:
        BadRoom: if there is no list, or a name in it is invalid.
    """
    path = os.environ.get("WORKBOOK_CLASS", "")
    if not path:
        raise BadRoom("WORKBOOK_CLASS names no class list. Write one name on a line: WORKBOOK_CLASS=names.txt make hub")
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadRoom(f"The class list {path} can't be read: {error}") from None
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise BadRoom(f"The class list {path} has no name in it.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadRoom(f"Twice in the class list {path}: {', '.join(twice)}.")
    if lead() in names:
        raise BadRoom(f"{lead()} leads, and can't be in the class list {path} too. WORKBOOK_LEAD names another lead.")
    return tuple(checked(name) for name in names)


def checked(name: str) -> str:
    """Return the name if it is valid as a part of paths and addresses.

    Raises:
        BadRoom: if it is not.
    """
    if not _NAME.fullmatch(name):
        raise BadRoom(f"{name!r} can't be a name here: small letters, digits and hyphens, a letter first, 31 at most.")
    return name
