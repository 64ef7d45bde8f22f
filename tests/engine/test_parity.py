"""The script gives the same status, output and errors on dockerd and on our engine, except where there is a reason."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.engine import conversations, differences, script
from tests.engine.conftest import ours, theirs
from tests.engine.conversations import Heard
from tests.sandbox.oci.conftest import serving

# The version to compare with: others word their messages differently.
VERSION: Final = "20.10."
ALL = os.environ.get("WORKBOOK_SOAK") == "1"
PARTS: Final = (*script.PARTS, "python") if ALL else script.SHORT
Both = tuple[dict[str, Heard], dict[str, Heard]]


@contextlib.contextmanager
def talk(host: str, name: str, folder: Path) -> Iterator[dict[str, Heard]]:
    """Run the script on an engine with the base image and a registry of its own."""
    work, home = folder / "work", folder / f"{name}-home"
    home.mkdir()
    with serving(folder / f"{name}-registry") as registry:
        place = f"localhost:{registry.port}"
        values = {
            "registry": f"{place}/{registry.name('team').rpartition('/')[0]}",
            "nope": f"{place}/{registry.name('team', 'nope').rpartition('/')[0]}",
            "immutable": f"{place}/{registry.name('team', 'immutable').rpartition('/')[0]}",
            "host": place,
            "token": registry.tokens["owner"],
            "project": registry.project,
            "engine": name,
        }
        told = conversations.Talk(host, home, work, values)
        imported = told.command("import {work}/base.tar base:1")
        assert imported.status == 0, imported
        yield told.all(PARTS)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("parity")
    (folder / "work").mkdir()
    conversations.files(folder / "work")
    conversations.base(folder / "work")
    with (
        theirs(folder / "dockerd", version=VERSION) as host,
        ours(folder / "engine") as running,
        talk(host, "theirs", folder) as their_answers,
        talk(running.host, "ours", folder) as our_answers,
    ):
        yield their_answers, our_answers


@pytest.mark.parametrize("line", conversations.NAMES)
def test_the_answer_is_the_same_or_there_is_a_reason(both: Both, line: str) -> None:
    if line not in both[0]:
        pytest.skip("a long one: make soak")
    their_answer, our_answer = both[0][line], both[1][line]
    if line in differences.REASONS:
        assert our_answer != their_answer, "they no longer differ: take the line out of differences.py"
    else:
        assert our_answer == their_answer


def test_every_reason_belongs_to_a_line() -> None:
    assert differences.REASONS.keys() <= set(conversations.NAMES)


def test_the_script_is_long() -> None:
    assert len(conversations.NAMES) >= 150
