"""The recipes of CONTRIBUTING are followed to the letter in a copy of the repository, and lead to where they say.

A block of Python runs, unless a comment before it names the file that it is (`file: PATH`) or the line that it goes
before (`in: PATH before: BEGINNING OF A LINE`). Blocks of bash run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cell import documents
from tests.docs import tables

ROOT = Path(__file__).parents[2]
# All that is in the repository, without what git ignores.
_LEFT_OUT = shutil.ignore_patterns(".*", "runs", "__pycache__", "node_modules")
_BLOCK = re.compile(r"(?:<!-- (file|in): (\S+)(?: before: ([^\n]+?))? -->\n)?```(\w+)\n(.*?)```\n", re.DOTALL)


def recipe(heading: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"CONTRIBUTING has no {heading!r}"
    return rest.partition("\n## ")[0]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository in which the recipes' programs are those of this environment."""
    aim = tmp_path / "copy"
    shutil.copytree(ROOT, aim, ignore=_LEFT_OUT)
    (aim / ".venv").symlink_to(Path(sys.prefix))
    # A page that is stale is another test's to say: what changes is what the recipe changes.
    run(aim, [sys.executable, "-m", "tests.docs"])
    (tmp_path / "before.json").write_text(json.dumps(digests(aim)), encoding="utf-8")
    return aim


def digests(copy: Path) -> dict[str, str]:
    """Each file of the copy and the digest of its bytes; what programs keep for themselves is left out."""
    return {
        str(path.relative_to(copy)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in copy.iterdir()
        if not folder.name.startswith(".")
        for path in ([folder] if folder.is_file() else folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def follow(copy: Path, text: str) -> None:
    """Do what a recipe's blocks say, in order; the first that fails is shown with its output."""
    blocks = _BLOCK.findall(text)
    assert len(blocks) == text.count("```") // 2, "a block that this test doesn't understand"
    for kind, name, line, language, code in blocks:
        path = copy / name
        if kind == "file":
            path.parent.mkdir(exist_ok=True)
            path.write_text(code, encoding="utf-8")
        elif kind == "in":
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            places = [place for place, found in enumerate(lines) if found.startswith(line)]
            assert len(places) == 1, f"{name} has {len(places)} lines that begin with {line!r}"
            lines.insert(places[0], code)
            path.write_text("".join(lines), encoding="utf-8")
        else:
            command = {"python": [sys.executable, "-c", code], "bash": ["bash", "-euo", "pipefail", "-c", code]}
            run(copy, command[language])


def run(copy: Path, command: list[str]) -> str:
    # What an environment that was made for ROOT imports, it imports from the copy.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTEST_ADDOPTS": "-p no:cacheprovider -p no:xdist"}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_XDIST")}
    ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command[-1]}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def changed(copy: Path) -> set[str]:
    """The files of the copy that are new or differ."""
    before = json.loads((copy.parent / "before.json").read_text(encoding="utf-8"))
    return {name for name, digest in digests(copy).items() if before.get(name) != digest}


@pytest.mark.timeout(300)
def test_a_notebook_is_one_file_and_readmes_table(copy: Path) -> None:
    follow(copy, recipe("Add a notebook"))
    assert changed(copy) == {
        "notebooks/90_create_another_repository.ipynb",
        "README.md",
        "docs/solutions.md",
    }
    assert re.search(r"\| create one more repository \| \d+ \|", (copy / "README.md").read_text(encoding="utf-8"))
    asks = """
from cli.readiness import needs
from cli.run import plans, spending
from helpers import fast_forward, workbook
from helpers.cell import about
[path] = plans.choose("90")
print(spending.text([path], 1.0))
print([need.role for need in needs.roles([path])], about.read(path).leaves)
print(list(fast_forward._needs(90)), about.provider("api").stem, workbook._notebook(90))
"""
    said = run(copy, [sys.executable, "-c", asks])
    assert re.search(r"^ *90 +storage +0.001 GB-month +\$0.0001 +a few layers for a day", said, re.MULTILINE), said
    assert "['roles/artifactregistry.admin'] ('repository',)" in said
    assert "['api'] 01_set_up_the_project ('90_create_another_repository', '90 · Create another repository')" in said


def test_a_new_role_stands_in_the_generated_table_of_roles(tmp_path: Path) -> None:
    book = json.loads(documents.notebooks()[2].read_text(encoding="utf-8"))
    role = {"role": "roles/cloudkms.viewer", "permissions": ["cloudkms.locations.get"], "purpose": "keys"}
    book["metadata"]["workbook"]["roles"] = [role]
    path = tmp_path / "90_keys.ipynb"
    path.write_text(json.dumps(book), encoding="utf-8")
    page = tables.GOOGLE.read_text(encoding="utf-8")
    assert "| `roles/cloudkms.viewer` | keys | 90 |" in tables.google(page, [*documents.notebooks(), path])


@pytest.mark.timeout(300)
def test_an_api_is_one_package_and_the_lines_that_the_recipe_names(copy: Path) -> None:
    follow(copy, recipe("Add a Google API"))
    run(copy, [sys.executable, "-m", "ruff", "check", "--quiet", "sandbox", "tests/sandbox/test_cloud_kms.py"])
    assert changed(copy) == {
        *("sandbox/cloud_kms/__init__.py", "sandbox/cloud_kms/api.py", "tests/sandbox/test_cloud_kms.py"),
        *("sandbox/apis.py", "sandbox/project/service_usage.py", "sandbox/iam/roles.py", "pyproject.toml"),
        *("docs/fidelity.toml", "docs/fidelity.md"),
    }
