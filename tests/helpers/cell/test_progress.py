"""Progress bars: every event passes through, and nothing is drawn where nobody looks."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.cell import progress

EVENTS = [
    {"status": "The push refers to repository"},
    {"id": "a", "status": "Pushing", "progressDetail": {"current": 10, "total": 100}},
    {"id": "a", "status": "Pushing", "progressDetail": {"current": 130, "total": 100}},
    {"id": "b", "status": "Pushing", "progressDetail": {"current": 5}},
    {"id": "a", "status": "Pushed"},
]


def test_events_pass_through_in_order_and_no_bar_is_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBOOK_PROGRESS", "off")
    assert list(progress.transfer(EVENTS, "Pushing")) == EVENTS
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_a_line_asks_each_time_what_runs_and_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "wanted", lambda: True)
    monkeypatch.setattr(progress.rich, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "_SHORT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_EVERY_SECOND", 0.0)
    told: list[str] = []

    def show(self: progress.Status, text: str) -> None:
        self._shown = self
        told.append(text)

    monkeypatch.setattr(progress.Status, "_show", show)
    states = iter(["PENDING", "SCANNING"])
    with progress.Status(lambda: f"scan: {next(states)}") as line:
        line.tick()
        line.tick()
    assert told == ["… scan: PENDING: 0 s", "… scan: SCANNING: 0 s", ""]


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBOOK_PROGRESS", raising=False)
    assert not progress.wanted()


CELL = """
from IPython import get_ipython
from helpers.cell import kernel, progress
kernel.load(get_ipython())
progress._SHORT_SECONDS = progress._EVERY_SECOND = 0.0
told = []
show = progress.Status._show
progress.Status._show = lambda self, text: (told.append(text), show(self, text))
"""


def shown(tmp_path: Path, progress_on: bool) -> tuple[list[str], str]:
    """What a real kernel shows while a terminal cell runs a docker of ours, and what is left of it."""
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\nuntil [ -e {tmp_path}/seen ]; do sleep 0.05; done\n")
    docker.chmod(0o755)
    watch = f"""
def look(self, text):
    told.append(text)
    show(self, text)
    if "docker push" in text:
        open({str(tmp_path / "seen")!r}, "w").close()
progress.Status._show = look
"""
    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_code_cell(source)
        for source in (CELL + watch, f"%%terminal\n{docker} push localhost:1/x\necho done", "print('|'.join(told))")
    ]
    if not progress_on:
        (tmp_path / "seen").touch()
    environment = dict(os.environ) | {"WORKBOOK_PROGRESS": "on" if progress_on else "off"}
    NotebookClient(book, timeout=60, kernel_name="python3").execute(env=environment)
    said = "".join("".join(one.get("text", one.get("data", {}).get("text/plain", ""))) for one in book.cells[1].outputs)
    return book.cells[2].outputs[0].text.strip().split("|") if progress_on else [], said


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the name of what runs comes from /proc")
def test_a_long_cell_says_what_runs_and_nothing_of_it_stays(tmp_path: Path) -> None:
    told, said = shown(tmp_path, True)
    assert re.fullmatch(r"… docker push: \d+ s", next(one for one in told if "docker" in one))
    assert said == "done\n"


def test_a_recording_has_no_such_line(tmp_path: Path) -> None:
    assert shown(tmp_path, False) == ([], "done\n")
