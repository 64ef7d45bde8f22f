"""Progress bars in a terminal and in JupyterLab, but not where outputs are recorded."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from helpers.cell import rich

_EVERY_SECONDS: Final = 0.1
_EVERY_SECOND: Final = 1.0
_SHORT_SECONDS: Final = 2.0


def wanted() -> bool:
    """Return whether to show bars: in a terminal or a live notebook, unless WORKBOOK_PROGRESS is off."""
    if os.environ.get("WORKBOOK_PROGRESS") == "off":
        return False
    return sys.stderr.isatty() or rich.in_notebook()


@contextmanager
def bar(title: str, *, total: int | None = None, bytes_: bool = False) -> Iterator[Any]:
    """Yield a tqdm bar that disappears at the end. `bytes_` shows kB and MB."""
    from tqdm import auto

    settings: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1000} if bytes_ else {"unit": "step"}
    make: Any = auto.tqdm
    with make(total=total, desc=title, leave=False, disable=not wanted(), **settings) as shown:
        yield shown


def transfer(events: Iterable[dict[str, Any]], title: str) -> Iterator[dict[str, Any]]:
    """Yield the engine's events of a push or a pull, and show one bar for the bytes of all layers."""
    totals: dict[str, int] = {}
    moved: dict[str, int] = {}
    shown_at = 0.0
    with bar(title, total=0, bytes_=True) as shown:
        for event in events:
            detail = event.get("progressDetail") or {}
            if event.get("id") and detail.get("total"):
                layer = event["id"]
                totals[layer] = max(int(detail["total"]), totals.get(layer, 0))
                moved[layer] = min(int(detail.get("current", 0)), totals[layer])
            if time.monotonic() - shown_at > _EVERY_SECONDS:
                shown_at = time.monotonic()
                shown.total = sum(totals.values())
                shown.update(max(0, sum(moved.values()) - shown.n))
            yield event


class Status:
    """A line under a cell that shows what has been running for how long, until the cell ends.

    It appears after two seconds, and only if `wanted`.
    """

    def __init__(self, what: Callable[[], str]) -> None:
        """Prepare the line. `what` returns what is running."""
        self._what = what
        self._began = self._updated = time.monotonic()
        self._shown: Any = None
        self._on = wanted() and rich.in_notebook()

    def tick(self) -> None:
        """Update the line, at most once a second."""
        now = time.monotonic()
        if not self._on or now - self._updated < (_EVERY_SECOND if self._shown else _SHORT_SECONDS):
            return
        self._updated = now
        self._show(f"… {self._what() or 'running'}: {now - self._began:.0f} s")

    def __enter__(self) -> Status:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the line."""
        if self._shown is not None:
            self._show("")

    def _show(self, text: str) -> None:
        from IPython.display import display

        bundle = {"text/plain": text}
        if self._shown is None:
            self._shown = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._shown.update(bundle, raw=True)


def running(pid: int) -> str:
    """Return the command that a bash is waiting for, such as `docker push`, or "" where /proc doesn't have it."""
    try:
        [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[-1:]
        words = Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return ""
    names = [word.rpartition("/")[2].removesuffix(".py") for word in words]
    start = next((place for place, name in enumerate(names) if name in ("docker", "gcloud")), 0)
    # Only the verb, without options and names.
    verb = [word for word in words[start + 1 :] if word]
    plain = next((place for place, word in enumerate(verb) if not re.fullmatch(r"[a-z][a-z-]*", word)), len(verb))
    return " ".join([names[start], *verb[: plain if names[start] in ("docker", "gcloud") else 0]])
