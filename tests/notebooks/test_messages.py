"""Every message that a notebook warns of exists word for word."""

from __future__ import annotations

import pytest

from tests.notebooks.messages import rows, sayings, says, unsaid
from tests.notebooks.shape import FOLDER, read

PATHS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_quoted_message_exists(path) -> None:
    book = read(path)
    found = [f"{path.name}#{cell}: {why}" for cell, why in unsaid(book, sayings())]
    assert not found, "\n".join(found)
    assert list(rows(book)), f"{path.name} warns of no message"


@pytest.mark.parametrize(
    ("message", "text", "is_said"),
    [
        ("`no`", "no", False),
        ("Repository not found", 'Repository "r" not found', False),
        ('Repository "…" not found', 'Repository "\x00" not found in this place', True),
        ("Permission 'a.b.c' denied", "Permission '\x00' denied on resource '\x00'", True),
        ("Permission 'a.b.c' refused", "Permission '\x00' denied on resource '\x00'", False),
        ("denied: Permission … denied", "denied: Permission 'x' denied on resource", True),
        ("… a …", "b", False),
        ("…", "anything", False),
    ],
)
def test_message_matches_a_text_word_for_word(message: str, text: str, is_said: bool) -> None:
    assert says(message, text) is is_said


def test_message_that_the_sandbox_changed_is_reported_with_its_cell() -> None:
    book = read(PATHS[2])
    changed = {
        who: tuple(text.replace("already exists", "is there already") for text in texts)
        for who, texts in sayings().items()
    }
    assert [(cell, why[:33]) for cell, why in unsaid(book, changed)] == [
        ("now-you-have", "`the repository already exists` i")
    ]
