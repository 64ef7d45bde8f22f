"""A lock that several processes take in turn: a file whose lock the system gives up when its holder ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine.errors import MachineError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock at `path`, waiting for whoever has it. Its folder is made.

    Raises MachineError on a system without such locks.
    """
    if fcntl is None:
        raise MachineError("This system has no file locks as the workbook needs them. On Windows, run it in WSL 2.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
