"""A running process of a container, and the log of its output."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import pty
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engine import jail
from engine.errors import Refused
from engine.store import remove_tree

STDOUT, STDERR = 1, 2
_LINE = 16384
# After SIGKILL. A process in an uninterruptible wait for a disk ends late.
_END_SECONDS = 60


@dataclass(frozen=True)
class Record:
    """A piece of output, with its stream and time."""

    stream: int
    time: str
    data: bytes


def now() -> str:
    """Return the current time in Docker's format."""
    text = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{text}000Z"


class Log:
    """A file of records, which clients can read and follow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changed = threading.Condition()
        self.open_streams = 0

    def write(self, stream: int, data: bytes) -> None:
        """Append one record."""
        line = json.dumps([stream, now(), data.decode("latin-1")])
        with self.changed:
            with self.path.open("a") as file:
                file.write(line + "\n")
            self.changed.notify_all()

    def size(self) -> int:
        """Return the offset at which the log ends now."""
        return self.path.stat().st_size if self.path.exists() else 0

    def read(self, offset: int = 0) -> tuple[list[Record], int]:
        """Return the records from `offset` on, and the offset of their end."""
        if not self.path.exists():
            return [], offset
        with self.path.open("rb") as file:
            return self._read(file, offset)

    def _read(self, file: IO[bytes], offset: int) -> tuple[list[Record], int]:
        file.seek(offset)
        content = file.read()
        content = content[: content.rfind(b"\n") + 1]
        rows = [json.loads(line) for line in content.splitlines()]
        return [Record(row[0], row[1], row[2].encode("latin-1")) for row in rows], offset + len(content)

    def follow(self, offset: int, is_over: Callable[[], bool]) -> Iterator[Record | None]:
        """Yield each record as it arrives, until `is_over` returns true.

        Yield None now and then, so that the caller can check for a closed connection. The file is opened immediately,
        because a container with AutoRemove deletes it while it is still being read.
        """
        try:
            self.path.touch()
            file = self.path.open("rb")
        except FileNotFoundError:
            return iter(())
        return self._follow(file, offset, is_over)

    def _follow(self, file: IO[bytes], offset: int, is_over: Callable[[], bool]) -> Iterator[Record | None]:
        with file:
            while True:
                with self.changed:
                    over = is_over()
                    records, offset = self._read(file, offset)
                    if not records and not over:
                        self.changed.wait(1)
                if records:
                    yield from records
                elif over:
                    return
                else:
                    yield None


class Run:
    """A started process. Once it has ended and all output is in the log, `on_end` is called with its exit code."""

    def __init__(
        self,
        process: jail.Process,
        means: jail.Means,
        folder: Path,
        log: Log,
        *,
        with_input: bool,
        on_end: Callable[[int], None],
    ) -> None:
        self.log = log
        self.pid = 0
        self.over = threading.Event()
        self.exit_code = 0
        self._tty = process.tty
        self._buffer = b""
        self._input_gate = threading.Lock()
        folder.mkdir(exist_ok=True)
        spec = folder / "spec.json"
        ours: list[tuple[int, int]] = []
        theirs: list[int] = []
        self._input: int | None = None
        if process.tty:
            master, slave = pty.openpty()
            ours.append((master, STDOUT))
            theirs = [slave, slave, slave]
            self._input = master if with_input else None
        else:
            outs = [os.pipe() for _ in (STDOUT, STDERR)]
            ours = [(outs[0][0], STDOUT), (outs[1][0], STDERR)]
            if with_input:
                read, self._input = os.pipe()
            else:
                read = os.open(os.devnull, os.O_RDONLY)
            theirs = [read, outs[0][1], outs[1][1]]
        try:
            self._launcher, self._control = jail.start(process, means, spec, *theirs)
        finally:
            for number in set(theirs):
                os.close(number)
        first = self._line()
        if "pid" not in first:
            for number, _ in ours:
                os.close(number)
            if self._input is not None and not process.tty:
                os.close(self._input)
            self._launcher.wait()
            remove_tree(folder)
            raise Refused(f"failed to create task for container: {first.get('failed', 'its launcher ended')}", 400)
        self.pid = int(first["pid"])
        readers = [threading.Thread(target=self._read, args=one, daemon=True) for one in ours]
        log.open_streams += len(readers)
        for reader in readers:
            reader.start()
        threading.Thread(target=self._wait, args=(readers, folder, on_end), daemon=True).start()

    def _line(self) -> dict[str, Any]:
        # If a process ends immediately, both lines may arrive in one piece.
        while b"\n" not in self._buffer:
            block = self._control.recv(4096)
            if not block:
                return {}
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return dict(json.loads(line))

    def _read(self, number: int, stream: int) -> None:
        pending = b""
        with contextlib.suppress(OSError):  # a closed terminal raises one
            while block := os.read(number, 65536):
                if self._tty:
                    self.log.write(stream, block)
                    continue
                *lines, pending = (pending + block).split(b"\n")
                for line in lines:
                    self.log.write(stream, line + b"\n")
                if pending and (len(pending) > _LINE or self._input is not None):
                    self.log.write(stream, pending)
                    pending = b""
        if pending:
            self.log.write(stream, pending)
        if not self._tty:
            os.close(number)

    def _wait(self, readers: list[threading.Thread], folder: Path, on_end: Callable[[int], None]) -> None:
        message = self._line()
        code = message.get("exit")
        self._launcher.wait()
        self._control.close()
        for reader in readers:
            reader.join()
        self.exit_code = code if isinstance(code, int) else 137
        with self._input_gate:
            if self._input is not None:
                with contextlib.suppress(OSError):
                    os.close(self._input)
                self._input = None
        remove_tree(folder)
        on_end(self.exit_code)
        self.over.set()
        with self.log.changed:
            self.log.changed.notify_all()

    def give(self, data: bytes) -> bool:
        """Write to the process's input. Return False if that is closed."""
        number = self._input
        if number is None:
            return False
        try:
            while data:
                data = data[os.write(number, data) :]
        except OSError:
            return False
        return True

    def end_input(self) -> None:
        """Close the process's input."""
        with self._input_gate:
            if self._input is not None and not self._tty:
                os.close(self._input)
                self._input = None

    def resize(self, height: int, width: int) -> None:
        """Set the size of the terminal."""
        if self._tty and self._input is not None:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._input, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps({"signal": number}).encode() + b"\n")

    def kill(self) -> None:
        """Kill the process and its descendants, and wait until they have ended. Raises Refused."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        if not self.over.wait(_END_SECONDS):
            raise Refused(f"the container's processes have not ended within {_END_SECONDS} seconds of SIGKILL", 500)


__all__ = ["STDERR", "STDOUT", "Log", "Record", "Run", "now"]
