"""Progress bars for what takes time: in a terminal and in JupyterLab, and silent where outputs are recorded."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from helpers.cell import rich

_EVERY_SECONDS: Final = 0.1


def wanted() -> bool:
    """Whether a bar can be seen: WORKBOOK_PROGRESS=off says no, a terminal or a live notebook says yes."""
    if os.environ.get("WORKBOOK_PROGRESS") == "off":
        return False
    return sys.stderr.isatty() or rich.in_notebook()


@contextmanager
def bar(title: str, *, total: int | None = None, bytes_: bool = False) -> Iterator[Any]:
    """A tqdm bar that disappears when the work is done; `bytes_` counts in kB and MB."""
    from tqdm import auto

    settings: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1000} if bytes_ else {"unit": "step"}
    make: Any = auto.tqdm
    with make(total=total, desc=title, leave=False, disable=not wanted(), **settings) as shown:
        yield shown


def transfer(events: Iterable[dict[str, Any]], title: str) -> Iterator[dict[str, Any]]:
    """Pass the engine's events of a push or a pull through, with one bar over the bytes of all layers."""
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
