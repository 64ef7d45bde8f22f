"""Write a run's reports: summary.json, JUnit XML, HTML and the closing table."""

from __future__ import annotations

import contextlib
import enum
import json
import platform
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from google.api_core import exceptions
from rich.console import Console
from rich.table import Table

from cli.run.execution import Result
from helpers import images, names, repositories
from helpers.cell import commands, documents
from helpers.target import Target

_CLIENTS: Final = ("google-cloud-artifact-registry", "google-auth", "docker", "papermill", "nbclient", "ipykernel")


class Verdict(enum.StrEnum):
    """The verdict on a run."""

    OK = "OK"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def exit_status(self) -> int:
        """The command's exit status: 1 for a failure, 3 for a stop by the budget, else 0, also for commands not run."""
        return {Verdict.FAILED: 1, Verdict.STOPPED: 3}.get(self, 0)


@dataclass(frozen=True)
class StoredDigest:
    """An image that the run left in the registry, and whether the engine has the same digest for it."""

    image: str
    tags: tuple[str, ...]
    digest: str
    size: int
    engine: str
    agree: bool


@dataclass(frozen=True)
class NotRun:
    """Commands of one terminal cell that weren't run, with the reason."""

    notebook: str
    commands: tuple[str, ...]
    reason: str


def stored_digests(here: Target) -> tuple[StoredDigest, ...]:
    """Return every image of the location in the API, with the engine's RepoDigests of the same name."""
    found = []
    with contextlib.closing(images.engine()) as client:
        known = [text for one in client.api.images() for text in one.get("RepoDigests") or []]
    try:
        listed = repositories.list_in(here.location)
    except exceptions.Forbidden:
        # No notebook of the run has enabled the API, so there are no images.
        return ()
    for repository in listed:
        for one in repositories.images(names.Repository.parse(repository.name)):
            wanted = here.docker_name(one.image.image)
            mine = [text.partition("@")[2] for text in known if text.partition("@")[0] == wanted]
            engine = one.image.value if one.image.value in mine else next(iter(mine), "")
            found.append(
                StoredDigest(
                    str(one.image.image), one.tags, one.image.value, one.size, engine, engine == one.image.value
                )
            )
    return tuple(found)


def not_run(journal: Path) -> tuple[NotRun, ...]:
    """Return the journal's cells that weren't run."""
    if not journal.exists():
        return ()
    entries = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    return tuple(NotRun(one["notebook"], tuple(one["commands"]), one["reason"]) for one in entries if not one["ran"])


def leave_out(journal: Path, notebook: Path, reason: str) -> None:
    """Write a notebook's terminal cells to the journal as not run."""
    cells = (cell["source"].partition("\n") for cell in documents.read(notebook).cells if cell["cell_type"] == "code")
    scripts = (script for first, _, script in cells if first.startswith("%%terminal"))
    with journal.open("a", encoding="utf-8") as file:
        for script in scripts:
            about = {"notebook": notebook.stem, "commands": commands.split(script), "reason": reason}
            file.write(json.dumps({**about, "ran": False, "seconds": 0.0}) + "\n")


def terminal_seconds(journal: Path) -> dict[str, float]:
    """Return the run time of each notebook's terminal cells."""
    found: dict[str, float] = {}
    if journal.exists():
        for line in journal.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            found[entry["notebook"]] = found.get(entry["notebook"], 0.0) + entry["seconds"]
    return found


def python_seconds(executed: Path) -> float:
    """Return the run time of an executed notebook's other cells, or 0 if the file is missing."""
    if not executed.exists():
        return 0.0
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    return sum(
        cell["metadata"].get("papermill", {}).get("duration") or 0.0
        for cell in cells
        if cell["cell_type"] == "code" and not "".join(cell["source"]).startswith("%%terminal")
    )


def versions() -> dict[str, str]:
    """Return the versions of gcloud, docker, Python and the clients. A missing tool has an empty version."""
    found = {"python": platform.python_version()}
    for tool, command in (
        ("gcloud", ("gcloud", "version", "--format=value('Google Cloud SDK')")),
        ("docker", ("docker", "version", "--format", "{{.Client.Version}}")),
        ("docker engine", ("docker", "version", "--format", "{{.Server.Version}}")),
    ):
        found[tool] = _output(command)
    # Marked as Python's, because there is also docker on the command line.
    return found | {f"{name} (Python)": metadata.version(name) for name in _CLIENTS}


def write_summary(
    folder: Path,
    here: Target | None,
    results: Sequence[Result],
    digests: Sequence[StoredDigest],
    skipped: Sequence[NotRun],
    verdict: Verdict,
    reason: str,
    used: dict[str, str],
) -> None:
    """Write `summary.json`. `reason` is a sentence, or empty for a run that is OK."""
    content = {
        "verdict": verdict,
        "reason": reason,
        "target": here.name if here else "",
        "project": here.project_id if here else "",
        "run": here.run if here else "",
        "seconds": round(sum(one.seconds for one in results), 1),
        "terminal_seconds": round(sum(terminal_seconds(folder / "journal.jsonl").values()), 3),
        "python_seconds": round(sum(python_seconds(one.output) for one in results), 3),
        "notebooks": [
            {
                "notebook": one.notebook,
                "status": one.status,
                "cells": one.cells,
                "of": one.of,
                "seconds": round(one.seconds, 2),
                "failure": asdict(one.failure) if one.failure else None,
            }
            for one in results
        ],
        "images": [asdict(one) for one in digests],
        "commands_not_run": {
            "count": sum(len(one.commands) for one in skipped),
            "cells": [asdict(one) for one in skipped],
        },
        "versions": used,
    }
    (folder / "summary.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_junit(folder: Path, results: Sequence[Result], skipped: Sequence[NotRun]) -> None:
    """Write `junit.xml` with one test case for each notebook."""
    suite = ET.Element(
        "testsuite",
        name="workbook",
        tests=str(len(results)),
        failures=str(sum(one.failure is not None for one in results)),
        time=f"{sum(one.seconds for one in results):.2f}",
    )
    for one in results:
        case = ET.SubElement(suite, "testcase", classname="notebooks", name=one.notebook, time=f"{one.seconds:.2f}")
        if one.failure:
            failure = ET.SubElement(case, "failure", message=_xml(one.failure.error.splitlines()[0]))
            failure.text = _xml(f"cell {one.failure.cell} {one.failure.cell_id}\n{one.failure.error}")
        reasons = [
            f"{skip.reason}: {command}"
            for skip in skipped
            if skip.notebook == one.notebook
            for command in skip.commands
        ]
        if reasons:
            ET.SubElement(case, "system-out").text = _xml("Not run:\n" + "\n".join(reasons))
    ET.ElementTree(suite).write(folder / "junit.xml", encoding="utf-8", xml_declaration=True)


def write_html(results: Iterable[Result]) -> None:
    """Write each executed notebook as an HTML file in the same folder."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter()  # type: ignore[no-untyped-call]
    for one in results:
        if one.output.exists():
            body, _ = exporter.from_filename(str(one.output))
            one.output.with_suffix(".html").write_text(body, encoding="utf-8")


def _output(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    ran = subprocess.run(
        list(command), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60
    )
    return ran.stdout.strip() if ran.returncode == 0 else ""


def _xml(text: str) -> str:
    """Return the text without control characters that XML 1.0 can't represent."""
    return "".join(letter for letter in text if letter in "\n\t" or ord(letter) >= 32)


def print_table(console: Console, results: Sequence[Result], digests: Sequence[StoredDigest], folder: Path) -> None:
    """Print the closing table: notebooks, cells, and the seconds in total, of terminal cells and of Python cells.

    Below it are two ratios, the digests in the registry and the folder of the files. The ratios compare the total with
    the time of terminal cells, and with that of all cells. The rest is the run's own, to start kernels and to store
    notebooks.
    """
    inside = terminal_seconds(folder / "journal.jsonl")
    python = {one.notebook: python_seconds(one.output) for one in results}
    table = Table("notebook", "status")
    # Short, so that no notebook's name is truncated in 80 columns.
    for head in ("cells", "seconds", "terminal", "Python"):
        table.add_column(head, justify="right")
    for one in results:
        table.add_row(
            one.notebook,
            one.status,
            f"{one.cells}/{one.of}",
            f"{one.seconds:.1f}",
            f"{inside.get(one.notebook, 0):.1f}",
            f"{python[one.notebook]:.1f}",
        )
    seconds, terminal, other = sum(one.seconds for one in results), sum(inside.values()), sum(python.values())
    cells = str(sum(one.cells for one in results))
    table.add_row("all", "", cells, f"{seconds:.1f}", f"{terminal:.1f}", f"{other:.1f}")
    console.print(table)
    if terminal:
        console.print(
            f"{seconds / terminal:.2f} times the seconds of the terminal cells, "
            f"{seconds / (terminal + other):.2f} times those of all cells",
            highlight=False,
        )
    for image in digests:
        tags = f" ({', '.join(image.tags)})" if image.tags else ""
        agreed = "the engine has the same digest" if image.agree else "the engine doesn't have this digest"
        console.print(f"{image.image}{tags}\n  {image.digest}: {agreed}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Files: {folder}", markup=False, highlight=False, soft_wrap=True)
