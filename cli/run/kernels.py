"""Start the next notebook's kernel while the current one runs, because starting takes seconds."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any, Final

from jupyter_client.manager import AsyncKernelManager

from helpers.cell import documents

NAME: Final = "python3"
_NO_HISTORY: Final = "--HistoryManager.hist_file=:memory:"
# Runs at the start of every kernel of a run. It imports the module that each notebook's first cell imports.
STARTUP: Final = '__import__("helpers.workbook")\n'


def imported(notebook: Path) -> list[tuple[str, list[str]]]:
    """Return the modules that a notebook's cells import, each with the imported names, or none if it is unreadable.

    Imports inside functions and solutions are left out, because they may not run.
    """
    found: dict[str, list[str]] = {}
    try:
        sources = [cell.source for cell in documents.read(notebook).cells if cell.cell_type == "code"]
    except (OSError, ValueError):
        return []
    for source in sources:
        # Cells with magics aren't Python.
        with contextlib.suppress(SyntaxError):
            for line in ast.parse(source).body:
                if isinstance(line, ast.ImportFrom) and line.module:
                    found.setdefault(line.module, []).extend(one.name for one in line.names)
                elif isinstance(line, ast.Import):
                    for one in line.names:
                        found.setdefault(one.name, [])
    return list(found.items())


class Spare:
    """A kernel that is started in advance for one notebook, with the notebook's imports.

    Attributes:
        log: the file for the kernel process's own messages.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._manager: Any = None
        self._notebook: Path | None = None
        self._thread: threading.Thread | None = None

    def prepare(self, notebook: Path) -> None:
        """Start a kernel in the notebook's folder, in the background."""
        self.close()
        self._notebook = notebook
        self._thread = threading.Thread(target=self._start, args=(notebook,), name="spare kernel", daemon=True)
        self._thread.start()

    def take(self, notebook: Path) -> Any | None:
        """Return the kernel's manager, which then belongs to the caller, or None if it isn't for that notebook."""
        self._join()
        if self._manager is None or self._notebook != notebook:
            return None
        manager, self._manager = self._manager, None
        return manager

    def close(self) -> None:
        """Stop the kernel, if it was not taken."""
        self._join()
        manager, self._manager = self._manager, None
        if manager is not None:
            asyncio.run(manager.shutdown_kernel(now=True))

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _start(self, notebook: Path) -> None:
        manager: Any = AsyncKernelManager(kernel_name=NAME)
        # An expression without a value, which leaves no name and no output in the notebook's namespace.
        imports = f"[__import__(name, fromlist=names) for name, names in {imported(notebook)!r}].clear()"
        arguments = [_NO_HISTORY, f"--IPKernelApp.exec_lines={imports}"]
        # On a failure the notebook starts a kernel of its own, which will report the error.
        with contextlib.suppress(Exception), self.log.open("ab") as log:
            asyncio.run(manager.start_kernel(cwd=str(notebook.parent), stderr=log, extra_arguments=arguments))
            self._manager = manager
