"""`make record`: run the notebooks in a fresh sandbox and store them with their outputs in one canonical form."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from cli import doctor
from cli.record import rules
from cli.record.stand_ins import NOTE, StandIns
from cli.run import runner
from cli.run.plans import Plan
from cli.run.runner import Outcome
from cli.world import starter
from helpers.cell import documents
from helpers.target import ROOT

PROJECT: Final = "ml-workbook"
CLOCK: Final = "2026-11-02T09:00:00Z"
RUN: Final = "recorded"
_WIDGET: Final = "application/vnd.jupyter.widget-view+json"
_PICTURE: Final = "image/svg+xml"
_KERNEL: Final = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# The last line of the card that `begin()` prints.
_CARD: Final = re.compile(r"(?P<card>^Target   .*\n(?:^Project  .*\n)^Region   .*\n)(?!Recorded: )", re.MULTILINE)
_KEPT_METADATA: Final = frozenset({"tags", "jupyter", "slideshow", "editable", "deletable"})


def rehearse(notebooks: Sequence[Path], console: Console, runs: Path = runner.RUNS) -> Outcome:
    """Run the notebooks with a recording's fixed project, clock and run. Writes no notebook."""
    with alone(console):
        port = starter.USUAL_PORT if starter.is_free(starter.USUAL_PORT) else 0
        plan = Plan(tuple(notebooks), project=PROJECT, clock=CLOCK, run=RUN, strict=True, port=port)
        return runner.run(plan, console, runs)


@contextlib.contextmanager
def alone(console: Console) -> Iterator[None]:
    """Wait until no other recording runs. All use the same project and run, and would delete each other's images."""
    path = Path(tempfile.gettempdir()) / f"workbook-recording-{os.getuid()}.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("Another recording runs on this machine: this one begins when it ends.", markup=False)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def texts(outcome: Outcome, notebooks: Sequence[Path]) -> dict[Path, str]:
    """Return the canonical form of each notebook that a rehearsal executed."""
    replaced = replacements(outcome)
    stand_ins = StandIns()
    return {path: canonical(documents.read(outcome.folder / path.name), replaced, stand_ins) for path in notebooks}


def record(notebooks: Sequence[Path], console: Console, runs: Path = runner.RUNS) -> Outcome:
    """Run all notebooks, and replace them by the executed ones if all cells of all notebooks ran."""
    outcome = rehearse(notebooks, console, runs)
    if outcome.code == 0:
        written = {path: _measured_before(text, path) for path, text in texts(outcome, notebooks).items()}
        for path, text in written.items():
            write(path, text)
        if tuple(notebooks) == documents.notebooks():
            doctor.note(json.loads((outcome.folder / "summary.json").read_text(encoding="utf-8"))["versions"])
        console.print(f"Wrote {len(written)} notebooks.", markup=False)
    else:
        console.print("No notebook was changed.", markup=False)
    return outcome


def _measured_before(text: str, path: Path) -> str:
    """Return the text with the stored outputs of `path` where nbval considers the new ones equal."""
    fresh = documents.parse(text)
    rules.keep_stored(fresh, documents.read(path))
    return documents.text(fresh)


def replacements(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    """Return replacements for folders and the port, which differ between machines and runs."""
    home = str(outcome.folder / "world")
    pairs = [(home, ".sandbox"), (str(outcome.folder), "runs/recorded"), (f"{ROOT}/", ""), (str(ROOT), ".")]
    if outcome.port and outcome.port != starter.USUAL_PORT:
        pairs.append((f"localhost:{outcome.port}", f"localhost:{starter.USUAL_PORT}"))
    return tuple(pairs)


def canonical(notebook: Any, replaced: Sequence[tuple[str, str]] = (), stand_ins: StandIns | None = None) -> str:
    """Return the notebook's canonical text: counts 1 to n, no timings, no widgets, no standard error, no paths.

    Digests and other names that are new on every build become stand-ins by first appearance, as the card says.

    The same notebook gives the same text, and the canonical form is its own canonical form.
    """
    names = stand_ins or StandIns()
    count = 0
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name in _KEPT_METADATA}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = _outputs(cell.outputs, count, replaced, names)
    language = notebook.metadata.get("language_info", {}).get("name", "python")
    kept = {"workbook": notebook.metadata["workbook"]} if "workbook" in notebook.metadata else {}
    notebook.metadata = {"kernelspec": dict(_KERNEL), "language_info": {"name": language}, **kept}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return documents.text(notebook)


def write(path: Path, text: str) -> None:
    """Replace the file atomically."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _outputs(outputs: Sequence[Any], count: int, replaced: Sequence[tuple[str, str]], names: StandIns) -> list[Any]:
    kept: list[Any] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            # Join a stream that arrived in pieces.
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        elif _WIDGET in output.get("data", {}):
            continue
        elif output.output_type == "execute_result":
            output.execution_count = count
        output.pop("metadata", None) if output.output_type == "stream" else output.setdefault("metadata", {})
        kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = _CARD.sub(rf"\g<card>{NOTE}\n", names.apply(_replace(output.text, replaced)))
        # Keep only one form of a picture. The HTML for JupyterLab is created whenever a cell runs.
        if _PICTURE in output.get("data", {}):
            output.data.pop("text/html", None)
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/") and isinstance(value, str):
                output.data[kind] = names.apply(_replace(value, replaced))
    # Without streams that contained only an engine's own messages.
    return [output for output in kept if output.output_type != "stream" or output.text]


def _replace(text: str, replaced: Sequence[tuple[str, str]]) -> str:
    for old, new in replaced:
        text = new.join(re.split(re.escape(old) + r"(?!\d)", text))
    return text
