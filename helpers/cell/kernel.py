"""Set up a notebook's kernel: `%%terminal`, short error messages, and gcloud without prompts."""

from __future__ import annotations

import linecache
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from helpers import checks
from helpers.cell import mistakes, terminal

# Packages whose error messages are enough, because their tracebacks would not help a learner.
_SPOKEN: Final = frozenset({"docker", "google", "grpc", "helpers", "machine", "requests", "urllib3"})
# Clients that check their arguments.
_CLIENTS: Final = tuple(f"{os.sep}site-packages{os.sep}{name}{os.sep}" for name in ("docker", "google", "proto"))
_HELPERS: Final = str(Path(__file__).resolve().parents[1]) + os.sep
_LINES: Final = 12
_WHOLE: Final = "  (%tb in a cell of its own shows the whole traceback.)"


def load(shell: Any, solution: Callable[..., bool] | None = None) -> None:
    """Prepare the kernel. It can be called repeatedly.

    Args:
        solution: `helpers.exercises.solution`, for `%%terminal --solution N`.
    """
    terminal.load(shell, solution)
    # Nobody can answer a prompt of `!gcloud …`, and the cell would wait forever.
    os.environ["CLOUDSDK_CORE_DISABLE_PROMPTS"] = "1"
    shell.set_custom_exc((Exception,), _show)


def _show(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    """Show a cell's error in a few lines if they are enough, or else as IPython does."""
    lines = brief(error, trace, shell.user_ns)
    if not lines:
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset, running_compiled_code=True)
        return
    # For %tb.
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    shell._showtraceback(kind, error, lines)


def brief(error: BaseException, trace: TracebackType | None, cell: dict[str, Any]) -> list[str]:
    """Return the lines to show for an error, or none if it needs the traceback or has a form of its own.

    Args:
        cell: the namespace in which cells run.
    """
    if hasattr(error, "_render_traceback_"):
        return []
    hint = mistakes.explain(error, os.environ)
    down = hint.startswith("The sandbox")
    if not hint and not _speaks_for_itself(error, trace):
        return []
    lines = [hint] if down else [_line(error), *_place(trace, cell), *([f"  {hint}"] if hint else [])]
    return [*lines, *([] if isinstance(error, SyntaxError) else [_WHOLE])]


def _line(error: BaseException) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        # `!command` raises it, below the command's own output.
        return f"CommandFailed: exit status {error.returncode}. The last lines above say why."
    text = error.msg if isinstance(error, SyntaxError) else checks.said(error)
    lines = text.splitlines()[:_LINES]
    return f"{type(error).__name__}: " + "\n".join(lines)


def _speaks_for_itself(error: BaseException, trace: TracebackType | None) -> bool:
    if type(error).__module__.partition(".")[0] in _SPOKEN:
        return True
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if isinstance(error, subprocess.CalledProcessError):
        return True
    # A helper or a client raised it on purpose, or because of its arguments.
    raised_in = trace.tb_frame.f_code.co_filename if trace is not None else ""
    theirs = raised_in.startswith(_HELPERS) or any(part in raised_in for part in _CLIENTS)
    return theirs and isinstance(error, (ValueError, TypeError, LookupError, AttributeError))


def _place(trace: TracebackType | None, cell: dict[str, Any]) -> list[str]:
    """Return the last line of a cell in the traceback, which is the learner's own."""
    found: list[str] = []
    while trace is not None:
        if trace.tb_frame.f_globals is cell:
            source = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).strip()
            found = [f"  in line {trace.tb_lineno}: {source}"]
        trace = trace.tb_next
    return found
