"""README, docs and notebooks name only existing targets of make, and existing commands and flags of `workbook`.

README and docs also follow some of the notebooks' rules (tests/notebooks/shape.py), such as those for product names.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import main
from tests.docs.test_readme import ROOT
from tests.notebooks import shape

TEXTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
TEXTS += sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*TEXTS, *sorted((ROOT / "notebooks").glob("*.ipynb"))]
_CODE = re.compile(r"^```[^\n]*\n(.*?)^```|`([^`\n]+)`", re.DOTALL | re.MULTILINE)


def markdown(path: Path) -> str:
    """Return the text of a page, or of a notebook's text cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def code(text: str) -> Iterator[str]:
    """Yield every line of code in a text, fenced or inline, without its comment."""
    for fenced, inline in _CODE.findall(text):
        yield from (re.sub(r"(^|\s)#.*", "", line) for line in (fenced or inline).splitlines())


@functools.cache
def verbs() -> frozenset[str]:
    """Return the targets of the Makefile."""
    return frozenset(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def unknown(text: str) -> list[str]:
    """Return the commands and flags that a text names and that don't exist."""
    found = []
    for line in code(text):
        for words in re.findall(r"(?:^|[;&(])\s*(?:\w+=\S+ +)*make((?: +[A-Z]+=(?:\"[^\"]*\"|\S+)| +[a-z]+)+)", line):
            named = re.findall(r" ([a-z]+)", re.sub(r"=\"[^\"]*\"|=\S+", "=", words))
            found += [f"make {verb}" for verb in named if verb not in verbs()]
            for given in re.findall(r"ARGS=\"([^\"]*)\"", line):
                found += [f"make {named[0]}: {one}" for one in unknown_flags(named[0], given)] if named else []
        for call in re.findall(r"(?:^|[\s;(\"/])workbook ((?:[a-z]+ ?)(?:[^;|&)\"]*))", line):
            command, rest = find(call.split())
            if command is None:
                found.append(f"workbook {call}")
            else:
                found += [f"workbook {call}: {one}" for one in flags(rest) if one not in options(command)]
    return found


@functools.cache
def workbook() -> Any:
    """Return the command line as Typer builds it."""
    return typer.main.get_command(main.app)


def find(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that the words name, or None, and the words after it."""
    here: Any = workbook()
    while words and (below := getattr(here, "commands", None)):
        here, words = below.get(words[0]), words[1:]
    return here, words


def options(command: Any) -> set[str]:
    """Return every flag of a command."""
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def flags(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2]


def unknown_flags(verb: str, given: str) -> list[str]:
    """Return the flags in ARGS that the command of `workbook` behind a target of make doesn't have."""
    command, _ = find([verb])
    return [] if command is None else [one for one in flags(given.split()) if one not in options(command)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_named_verb_and_flag_exists(page: Path) -> None:
    assert not unknown(markdown(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_named_variable_is_read_by_the_code(page: Path) -> None:
    assert not set(re.findall(r"\bWORKBOOK_[A-Z_]+", markdown(page))) - variables()


@functools.cache
def variables() -> frozenset[str]:
    """Return every WORKBOOK_ name in the code, its tests or the set-up."""
    files = [ROOT / "machine/install.sh", ROOT / "Makefile"]
    files += [
        path
        for room in ("cli", "helpers", "machine", "room", "sandbox", "tests")
        for path in (ROOT / room).rglob("*.py")
    ]
    found = (re.findall(r"\bWORKBOOK_[A-Z_]+", path.read_text(encoding="utf-8")) for path in files)
    return frozenset(name for names in found for name in names)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
@pytest.mark.parametrize("rule", ["product-names", "belittling", "alt-text", "home-path", "secret"])
def test_page_keeps_the_rules_of_the_notebooks(rule: str, page: Path) -> None:
    cell = {"cell_type": "markdown", "id": page.name, "metadata": {}, "source": page.read_text(encoding="utf-8")}
    assert not list(shape.RULES[rule](page.name, {"cells": [cell]}, set()))


def test_unknown_verb_and_flag_are_found() -> None:
    text = (
        '`make run` `make runn` `TARGET=gcp PROJECT=p make run` `make run ARGS="--only 02 --onyl 03"`\n'
        "```bash\nmake lab   # make coffee\n.venv/bin/workbook start --port 5\n.venv/bin/workbook strat\n"
        "workbook cleanup preview --json\nworkbook cleanup --all\n```\nmake sense of it"
    )
    assert unknown(text) == ["make runn", "make run: --onyl", "workbook strat", "workbook cleanup --all"]
