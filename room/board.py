"""The board that the lead shows in a learner's JupyterLab, and the learner's leave to look at notebooks.

Both are in a file in the learner's home: all of a room's processes run as one system user (docs/room.md).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
from pathlib import Path
from typing import Final

NAME: Final = "board.json"
LEAVE: Final = dt.timedelta(hours=1)
LONGEST: Final = 500  # characters of a message


@dataclasses.dataclass(frozen=True)
class Board:
    """The content of a learner's board.

    Attributes:
        number: counts the lead's messages, so that the next one shows the board again after it was hidden.
        notebook: stem of the notebook to open; empty for none.
        asks: whether the lead has asked to look at the notebooks, and the learner has not answered yet.
        until: seconds since the epoch until which the lead may look; 0 without leave.
    """

    number: int = 0
    text: str = ""
    notebook: str = ""
    asks: bool = False
    until: float = 0.0


def read(home: Path) -> Board:
    """Return a learner's board; an empty one if the file is missing or damaged."""
    try:
        found = json.loads((home / NAME).read_text(encoding="utf-8"))
        return Board(
            int(found["number"]),
            str(found["text"]),
            str(found["notebook"]),
            found["asks"] is True,
            float(found["until"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Board()


def post(home: Path, text: str, notebook: str) -> None:
    """Show a message, perhaps with a notebook to open; an empty text removes the last message."""
    board = read(home)
    _write(home, dataclasses.replace(board, number=board.number + 1, text=text, notebook=notebook if text else ""))


def ask(home: Path) -> None:
    """Ask for leave to look at the notebooks."""
    _write(home, dataclasses.replace(read(home), asks=True))


def answer(home: Path, now: dt.datetime, *, yes: bool) -> None:
    """Give leave for an hour, or withdraw it."""
    until = (now + LEAVE).timestamp() if yes else 0.0
    _write(home, dataclasses.replace(read(home), asks=False, until=until))


def may_look(home: Path, now: dt.datetime) -> bool:
    """Return whether the learner lets the lead look now."""
    return now.timestamp() < read(home).until


def _write(home: Path, board: Board) -> None:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = home / f".{NAME}.{os.getpid()}"
    fresh.write_text(json.dumps(dataclasses.asdict(board)), encoding="utf-8")
    fresh.replace(home / NAME)
