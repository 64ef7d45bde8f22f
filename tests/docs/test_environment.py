"""docs/environment.md has a row for every WORKBOOK_* variable in the code, and no other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "environment.md"
ENDINGS = {".py", ".sh", ".ipynb", ".yml", ".yaml"}
NAME = re.compile(r"\bWORKBOOK_[A-Z0-9_]*[A-Z0-9]\b")
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)


def code() -> dict[Path, str]:
    """Return the text of every file that may name a variable, from the listed folders where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        folders = ("cli", "helpers", "machine", "notebooks", "sandbox", "tests", "benchmarks", "site")
        paths = [path for folder in folders for path in (ROOT / folder).rglob("*")] + [ROOT / "Makefile"]
    return {
        path: path.read_text(encoding="utf-8")
        for path in paths
        if path.is_file() and (path.suffix in ENDINGS or path.name in ("Makefile", "Dockerfile"))
    }


def used() -> set[str]:
    return {name for path, text in code().items() if path != Path(__file__) for name in NAME.findall(text)}


def test_every_variable_has_a_row_and_every_row_is_a_variable() -> None:
    named = [name for name, _, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert set(named) == used()
    assert named == sorted(named), "the rows are sorted by name"
    assert len(named) == len(set(named))


def test_every_row_has_a_meaning_and_a_default() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len(rows) > 15
    assert [name for name, meaning, default in rows if len(meaning) < 10 or not default.strip()] == []


def test_pages_name_no_variable_that_the_code_does_not_know() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    named = {name for page in pages for name in NAME.findall(page.read_text(encoding="utf-8"))}
    assert named <= used()
