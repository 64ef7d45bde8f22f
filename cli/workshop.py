"""`make workshop`: prepare a learner's machine on the day before a workshop, and report whether it is ready.

A run of the notebooks proves that a machine is ready, downloads everything, and fills the engine's build cache, so that
the builds on the day need no network. The report is short and without names, so that it can be pasted into a channel.
It lists which parts of the machine were checked.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cli.run.report import Verdict
from helpers import show
from helpers.cell import documents
from helpers.target import ROOT
from machine import engine as machine_engine
from machine import gcloud, gcloud_components, reach

_WANTED: Final = ("python", "gcloud", "docker", "docker engine")
_MEMORY: Final = 4 * 10**9  # bytes; docs/workshop.md says how it was measured
_DISK: Final = 5 * 10**9


def machine(root: Path = ROOT) -> dict[str, str]:
    """Return the machine's system, processors, memory, and free disk space for the workbook."""
    return {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processors": str(os.cpu_count()),
        "memory": show.size(memory()),
        "free disk": show.size(shutil.disk_usage(root).free),
    }


def parts(echo: Callable[[str], None]) -> dict[str, str]:
    """Return the parts that a machine needs. A value that begins with `no` says what is missing, and what to do.

    Raises MachineError if there is no engine.
    """
    found = machine_engine.ensure(echo)
    elsewhere = reach.why_not(found.host)
    program = shutil.which("gcloud") or ""
    whose = "the workbook's own" if program and gcloud.foreign() is None else "on the PATH"
    return {
        "kind of engine": machine_engine.kind(found),
        "the engine reaches the sandbox": f"no: {elsewhere}" if elsewhere else "yes",
        "gcloud is": whose if program else "no: run make setup, which downloads it",
        "gcloud's beta commands": _component("beta"),
        "gcloud's local-extract": _component("local-extract"),
        "curl": "yes" if shutil.which("curl") else "no: install it, notebook 6 calls a service with it",
    }


def _component(name: str) -> str:
    return f"no: {gcloud_components.ways(name)}" if name in gcloud_components.missing() else "yes"


def memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def doubts(summary: dict[str, Any], had: int, disk: int, checked: Mapping[str, str]) -> list[str]:
    """Return the problems of a machine, each with what to do. Memory and disk are in bytes."""
    found = [f"{name}: {value.removeprefix('no: ')}" for name, value in checked.items() if value.startswith("no: ")]
    if summary["verdict"] == Verdict.FAILED:
        found.append(f"the run failed: {summary['reason']}")
    not_run = int(summary["commands_not_run"]["count"])
    if not_run:
        found.append(f"{not_run} commands were not run: the run's output above says why")
    if had < _MEMORY:
        found.append(f"{show.size(had)} of memory: close what you can, {show.size(_MEMORY)} is comfortable")
    if disk < _DISK:
        found.append(f"{show.size(disk)} of free disk: make room for {show.size(_DISK)}")
    return found


def unchecked(summary: dict[str, Any], notebooks: Sequence[Path]) -> list[str]:
    """Return the notebooks that the run left out or didn't reach."""
    ran = {one["notebook"] for one in summary["notebooks"] if one["status"] == "ok"}
    return [path.stem for path in notebooks if path.stem not in ran]


def text(summary: dict[str, Any], about: Mapping[str, str], doubts: list[str], left_out: list[str]) -> str:
    """Return the report as Markdown. `summary` is the content of a run's summary.json."""
    used = {name: summary["versions"].get(name) or "missing" for name in _WANTED}
    lines = [f"- {name}: {value}" for name, value in {**about, **used}.items()]
    for one in summary["notebooks"]:
        lines.append(
            f"- {one['notebook']}: {one['status']}, {one['cells']} of {one['of']} cells, {one['seconds']:.0f} s"
        )
    lines.append(f"- all: {summary['verdict']}, {summary['seconds']:.0f} s")
    if left_out:
        lines.append(f"- not checked: {', '.join(left_out)}")
    ready = f"**Ready for {'what was checked' if left_out else 'the workshop'}.**"
    ending = [ready] if not doubts else ["**Not ready yet:**", *(f"- {one}" for one in doubts)]
    return "\n".join(["Workshop report", "", *lines, "", *ending])


def report(folder: Path, checked: Mapping[str, str], root: Path = ROOT) -> tuple[str, bool]:
    """Return the report of the run in `folder`, and whether the machine is ready for what was checked."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    found = doubts(summary, memory(), shutil.disk_usage(root).free, checked)
    brief = {name: "no" if value.startswith("no: ") else value for name, value in checked.items()}
    left_out = unchecked(summary, documents.notebooks())
    return text(summary, {**machine(root), **brief}, found, left_out), not found
