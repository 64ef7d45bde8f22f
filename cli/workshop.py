"""`make workshop`: the day before. All that a learner's machine fetches is fetched, and a report says how it went.

A run of the notebooks is the only proof that a machine is ready, and it leaves the engine's build cache filled: the
same builds on the day need no network. The report is short, names nobody, and is made to be pasted into a channel.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any, Final

from helpers import show
from helpers.target import ROOT

_WANTED: Final = ("python", "gcloud", "docker", "docker engine")
_MEMORY: Final = 4 * 10**9  # bytes; docs/workshop.md says how it was measured
_DISK: Final = 5 * 10**9


def machine(root: Path = ROOT) -> dict[str, str]:
    """What the machine is: system, processors, memory, free disk where the workbook is."""
    return {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processors": str(os.cpu_count()),
        "memory": show.size(memory()),
        "free disk": show.size(shutil.disk_usage(root).free),
    }


def memory() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def doubts(summary: dict[str, Any], had: int, disk: int) -> list[str]:
    """What may spoil the day, each with what to do; empty when the machine is ready. Memory and disk in bytes."""
    found = []
    if summary["verdict"].startswith("FAILED"):
        found.append(f"the run failed: {summary['verdict']}")
    if not summary["versions"].get("gcloud"):
        found.append("no gcloud: terminal cells are skipped; install the Google Cloud CLI")
    if had < _MEMORY:
        found.append(f"{show.size(had)} of memory: close what you can, {show.size(_MEMORY)} is comfortable")
    if disk < _DISK:
        found.append(f"{show.size(disk)} of free disk: make room for {show.size(_DISK)}")
    return found


def text(summary: dict[str, Any], about: dict[str, str], doubts: list[str]) -> str:
    """The report as Markdown. `summary` is a run's summary.json."""
    used = {name: summary["versions"].get(name) or "missing" for name in _WANTED}
    lines = [f"- {name}: {value}" for name, value in {**about, **used}.items()]
    for one in summary["notebooks"]:
        lines.append(
            f"- {one['notebook']}: {one['status']}, {one['cells']} of {one['of']} cells, {one['seconds']:.0f} s"
        )
    lines.append(f"- all: {summary['verdict'].partition(':')[0]}, {summary['seconds']:.0f} s")
    ending = ["**Ready for the workshop.**"] if not doubts else ["**Not ready yet:**", *(f"- {one}" for one in doubts)]
    return "\n".join(["Workshop report", "", *lines, "", *ending])


def report(folder: Path, root: Path = ROOT) -> tuple[str, bool]:
    """The report of the run in `folder`, and whether the machine is ready."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    found = doubts(summary, memory(), shutil.disk_usage(root).free)
    return text(summary, machine(root), found), not found
