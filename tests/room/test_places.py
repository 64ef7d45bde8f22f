"""The class list, and names that become paths and addresses."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from traitlets.config import Config

from helpers.target import ROOT
from room import places
from room.places import BadRoom


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBOOK_ROOM", str(tmp_path / "room"))
    monkeypatch.delenv("WORKBOOK_LEAD", raising=False)
    return tmp_path


def class_list(room: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = room / "names.txt"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("WORKBOOK_CLASS", str(path))


def test_a_list_has_one_name_on_a_line(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_list(room, "# Monday\nada\n\n  grace  \nlinus-2\n", monkeypatch)
    assert places.learners() == ("ada", "grace", "linus-2")
    assert places.home("ada") == room / "room" / "learners" / "ada"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no name in it"),
        ("# nobody\n", "has no name in it"),
        ("ada\ngrace\nada\n", "Twice in the class list"),
        ("ada\nlead\n", "lead leads, and can't be in the class list"),
        ("Ada\n", "'Ada' can't be a name here"),
        ("ada lovelace\n", "can't be a name here"),
        ("../lead\n", "can't be a name here"),
        ("a" * 32, "can't be a name here"),
    ],
    ids=["empty", "comment", "twice", "the lead", "capital", "space", "path", "long"],
)
def test_a_list_that_cannot_be_says_why(text: str, said: str, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_list(room, text, monkeypatch)
    with pytest.raises(BadRoom, match=said):
        places.learners()


def test_a_room_without_a_list_says_how_to_write_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBOOK_CLASS", raising=False)
    with pytest.raises(BadRoom, match=r"Write one name on a line: WORKBOOK_CLASS=names\.txt make hub"):
        places.learners()


@pytest.mark.parametrize(
    ("who", "aim"),
    [(None, "/hub/spawn"), ("ada", "/hub/spawn"), ("lead", "/services/room/")],
    ids=["nobody yet", "learner", "lead"],
)
def test_the_room_s_address_leads_everybody_somewhere(
    who: str | None, aim: str, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_list(room, "ada\n", monkeypatch)
    monkeypatch.setenv("WORKBOOK_ROOM_PROXY", "configurable-http-proxy")
    config: Any = Config()
    runpy.run_path(str(ROOT / "room" / "hub_config.py"), {"get_config": lambda: config})
    user = SimpleNamespace(name=who, admin=who == "lead") if who else None
    assert config.JupyterHub.default_url(SimpleNamespace(current_user=user)) == aim
