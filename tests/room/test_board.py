"""The lead's messages, the learner's leave, and notebooks that are only looked at."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from room import board, looks, seat

NOW = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)


def test_a_message_stays_until_the_next_one(tmp_path: Path) -> None:
    assert board.read(tmp_path) == board.Board()
    board.post(tmp_path, "Coffee", "05_tag_images")
    first = board.read(tmp_path)
    assert (first.number, first.text, first.notebook) == (1, "Coffee", "05_tag_images")
    board.post(tmp_path, "", "05_tag_images")
    assert (board.read(tmp_path).number, board.read(tmp_path).text, board.read(tmp_path).notebook) == (2, "", "")


def test_leave_is_asked_for_given_for_an_hour_and_taken_back(tmp_path: Path) -> None:
    board.ask(tmp_path)
    assert board.read(tmp_path).asks
    assert not board.may_look(tmp_path, NOW)
    board.answer(tmp_path, NOW, yes=True)
    assert not board.read(tmp_path).asks
    assert board.may_look(tmp_path, NOW + dt.timedelta(minutes=59))
    assert not board.may_look(tmp_path, NOW + dt.timedelta(minutes=60))
    board.answer(tmp_path, NOW, yes=False)
    assert not board.may_look(tmp_path, NOW)


@pytest.mark.parametrize("damaged", ["", "[]", "{", '{"number": 1}', '{"until": "x"}'])
def test_a_damaged_board_gives_no_leave(damaged: str, tmp_path: Path) -> None:
    (tmp_path / board.NAME).write_text(damaged, encoding="utf-8")
    assert not board.may_look(tmp_path, NOW)
    board.post(tmp_path, "again", "")
    assert board.read(tmp_path).text == "again"


def test_what_a_learner_wrote_runs_nothing_in_the_lead_s_browser(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    output = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"text/html": evil, "application/javascript": "alert(3)"},
    }
    code = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "source": "1 + 1",
        "execution_count": 1,
        "outputs": [output],
    }
    text = {"cell_type": "markdown", "id": "b", "metadata": {}, "source": f"# Mine\n{evil}"}
    path = tmp_path / "x.ipynb"
    path.write_text(
        json.dumps({"cells": [code, text], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8"
    )
    page = looks.page(path)
    assert "Mine" in page
    assert "<script" not in page
    assert "onerror=" not in page.replace("&lt;img src=x onerror=", "")
    assert looks.POLICY.startswith("sandbox; default-src 'none'")


def test_jupyterlab_s_page_gets_the_board_s_script_and_nothing_else(tmp_path: Path) -> None:
    page = (seat.with_board(tmp_path) / "index.html").read_text(encoding="utf-8")
    assert page.count('src="{{ base_url | escape }}workbook/board.js"') == 1
    assert "jupyter-config-data" in page
