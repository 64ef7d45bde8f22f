"""The kernel of the next notebook: started while the one before still runs, because starting takes seconds."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any, Final

from jupyter_client.manager import AsyncKernelManager

NAME: Final = "python3"
_NO_HISTORY: Final = "--HistoryManager.hist_file=:memory:"
# Read by every kernel of a run at its start: what the first cell of each notebook imports.
STARTUP: Final = '__import__("helpers.workbook")\n'


class Spare:
    """One kernel in reserve, for a notebook in a certain folder.

    Attributes:
        log: takes what the kernel's process itself has to say.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._manager: Any = None
        self._folder: Path | None = None
        self._thread: threading.Thread | None = None

    def prepare(self, folder: Path) -> None:
        """Begin to start a kernel in `folder`; returns at once."""
        self.close()
        self._folder = folder
        self._thread = threading.Thread(target=self._start, args=(folder,), name="spare kernel", daemon=True)
        self._thread.start()

    def take(self, folder: Path) -> Any | None:
        """Return the manager of the kernel, which now belongs to the caller.

        None when there is none for that folder.
        """
        self._join()
        if self._manager is None or self._folder != folder:
            return None
        manager, self._manager = self._manager, None
        return manager

    def close(self) -> None:
        """End the kernel that nobody took."""
        self._join()
        manager, self._manager = self._manager, None
        if manager is not None:
            asyncio.run(manager.shutdown_kernel(now=True))

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _start(self, folder: Path) -> None:
        manager: Any = AsyncKernelManager(kernel_name=NAME)
        # A kernel that can't start is told by the notebook that then starts its own.
        with contextlib.suppress(Exception), self.log.open("ab") as log:
            asyncio.run(manager.start_kernel(cwd=str(folder), stderr=log, extra_arguments=[_NO_HISTORY]))
            self._manager = manager
