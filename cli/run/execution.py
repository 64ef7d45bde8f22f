"""Execute one notebook with papermill, in a thread of its own so that the runner can handle Ctrl-C and SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jupyter_core.utils import ensure_event_loop
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from cli.run import kernels
from helpers.cell import documents

_ENGINE: Final = "workbook"
_CELL_SECONDS: Final = 1200
_INTERRUPT_SECONDS: Final = 8.0
_MARKER: Final = "papermill-error-cell-tag"


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, with the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class Failure:
    """A notebook's failure: the cell, counted from 1, its id, and the error as the notebook shows it."""

    cell: int
    cell_id: str
    error: str


@dataclass(frozen=True)
class Result:
    """One executed notebook: the number of code cells that ran, of all code cells, and the time."""

    notebook: str
    output: Path
    cells: int
    of: int
    seconds: float
    failure: Failure | None = None

    @property
    def status(self) -> str:
        """`ok` or `failed`."""
        return "failed" if self.failure else "ok"


@dataclass
class _Watch:
    """The state that the executing thread and the waiting one share."""

    on_cell: Callable[[], None]
    log: Path
    kernel: Any = None
    client: Any = None
    error: BaseException | None = None
    cells: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cell_done(self) -> None:
        with self.lock:
            self.cells += 1
        self.on_cell()


class _Engine(Engine):  # type: ignore[misc, unused-ignore]
    """papermill's engine with a hook after each code cell and access to the kernel."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: Any, **options: Any) -> Any:
        watch: _Watch = options["watch"]
        complete = nb_man.cell_complete

        def completed(cell: Any, cell_index: int | None = None, **more: Any) -> None:
            complete(cell, cell_index, **more)
            if cell.cell_type == "code":
                watch.cell_done()

        nb_man.cell_complete = completed
        watch.client = PapermillNotebookClient(  # type: ignore[no-untyped-call]
            nb_man,
            km=watch.kernel,
            # The kernel has nothing to clean up.
            shutdown_kernel="immediate",
            timeout=_CELL_SECONDS,
            startup_timeout=options.get("start_timeout", 60),
            kernel_name=kernel_name,
            log_output=False,
            # Join a stream that arrives in pieces.
            coalesce_streams=True,
        )
        # The kernel process's own messages go to the log, not to the learner.
        with watch.log.open("ab") as log:
            return watch.client.execute(stderr=log, cleanup_kc=True)


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any],
    on_cell: Callable[[], None] = lambda: None,
    kernel: Any = None,
) -> Result:
    """Execute `notebook` in its folder with the environment of this process, and write it to `output`.

    `kernel` is the manager of a kernel that already runs in that folder and ends with the notebook. By default the
    notebook starts its own. Returns a Result even when a cell fails. Raises Interrupted after the kernel has stopped.
    """
    papermill_engines.register(_ENGINE, _Engine)  # type: ignore[no-untyped-call]
    watch = _Watch(on_cell, output.parent / "kernel.log", kernel)
    started = time.monotonic()
    thread = threading.Thread(
        target=_run, args=(notebook, output, dict(parameters), watch), name="papermill", daemon=True
    )
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except BaseException:
        _end(watch, thread)
        raise
    count = documents.code_cells(notebook)
    seconds = time.monotonic() - started
    failure = _failure(watch.error, output) if watch.error else None
    return Result(notebook.stem, output, min(watch.cells, count), count, seconds, failure)


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM inside the block into Interrupted, and ignore others during the clean-up."""

    def arrived(number: int, _frame: object) -> None:
        # A second signal must not interrupt the clean-up.
        for known in (signal.SIGINT, signal.SIGTERM):
            signal.signal(known, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.signal(number, arrived) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(notebook: Path, output: Path, parameters: dict[str, Any], watch: _Watch) -> None:
    try:
        execute_notebook(  # type: ignore[no-untyped-call]
            str(notebook),
            str(output),
            parameters=parameters or None,
            engine_name=_ENGINE,
            kernel_name=kernels.NAME,
            progress_bar=False,
            cwd=str(notebook.parent),
            watch=watch,
        )
    except BaseException as error:  # noqa: BLE001 - it is handed to the waiting thread
        watch.error = error
    finally:
        # Close the loop that Jupyter created for this thread.
        ensure_event_loop().close()


def _end(watch: _Watch, thread: threading.Thread) -> None:
    """Stop the kernel, first with an interrupt, so that a terminal cell can stop its processes, then with SIGKILL."""
    pid = getattr(getattr(getattr(watch.client, "km", None), "provisioner", None), "pid", None)
    if pid is None:
        return
    for number, seconds in ((signal.SIGINT, _INTERRUPT_SECONDS), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        thread.join(seconds)
        if not thread.is_alive():
            return


def _failure(error: BaseException, output: Path) -> Failure:
    if isinstance(error, PapermillExecutionError):
        return Failure(error.cell_index + 1, _cell_id(output, error.cell_index), f"{error.ename}: {error.evalue}")
    return Failure(0, "", f"{type(error).__name__}: {error}")


def _cell_id(output: Path, index: int) -> str:
    try:
        # papermill adds a cell at the top that links to the error.
        cells = [cell for cell in documents.read(output).cells if _MARKER not in cell.metadata.get("tags", [])]
        return str(cells[index].get("id", ""))
    except (OSError, IndexError, ValueError):
        return ""
