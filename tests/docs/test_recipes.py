"""CONTRIBUTING's recipes work as written, in a copy of the repository.

A block of Python is run, unless a comment before it names the file that it is (`file: PATH`) or the line that it is
inserted before (`in: PATH before: BEGINNING OF A LINE`). Blocks of bash are run.
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
# Mostly what git ignores.
_LEFT_OUT = shutil.ignore_patterns(".*", "runs", "__pycache__", "node_modules")
_BLOCK = re.compile(r"(?:<!-- (file|in): (\S+)(?: before: ([^\n]+?))? -->\n)?```(\w+)\n(.*?)```\n", re.DOTALL)


def recipe(heading: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"CONTRIBUTING has no {heading!r}"
    return rest.partition("\n## ")[0]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository whose generated pages are up to date, so that recipes alone change them."""
    folder = tmp_path_factory.mktemp("original") / "copy"
    shutil.copytree(ROOT, folder, ignore=_LEFT_OUT)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    run(folder, [sys.executable, "-m", "tests.docs"])
    (folder.parent / "before.json").write_text(json.dumps(digests(folder)), encoding="utf-8")
    return folder


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """A copy of the repository for one recipe."""
    shutil.copytree(original.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path / "copy"


def digests(copy: Path) -> dict[str, str]:
    """Return the digest of each file of the copy, except those that programs write for themselves."""
    return {
        str(path.relative_to(copy)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in copy.iterdir()
        if not folder.name.startswith(".")
        for path in ([folder] if folder.is_file() else folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def follow(copy: Path, text: str) -> None:
    """Apply or run a recipe's blocks in order, and fail with the output of the first that fails."""
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
    # The environment was made for ROOT. PYTHONPATH has it import from the copy.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTEST_ADDOPTS": "-p no:cacheprovider -p no:xdist"}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_XDIST")}
    ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command[-1]}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def changed(copy: Path) -> set[str]:
    """Return the files of the copy that are new or differ."""
    before = json.loads((copy.parent / "before.json").read_text(encoding="utf-8"))
    return {name for name, digest in digests(copy).items() if before.get(name) != digest}


@pytest.mark.timeout(300)
def test_recipe_for_a_notebook_adds_one_file_and_generated_rows(copy: Path) -> None:
    follow(copy, recipe("Add a notebook"))
    assert changed(copy) == {
        "notebooks/90_create_another_repository.ipynb",
        "README.md",
        "docs/solutions.md",
    }
    assert re.search(r"\| create one more repository \| \d+ \|", (copy / "README.md").read_text(encoding="utf-8"))
    script = """
from cli.readiness import needs
from cli.run import plans, spending
from helpers import fast_forward, workbook
from helpers.cell import about
[path] = plans.choose("90")
print(spending.text([path], 1.0))
print([need.role for need in needs.roles([path])], about.read(path).leaves)
print(list(fast_forward._needs(90)), about.provider("api").stem, workbook._notebook(90))
"""
    output = run(copy, [sys.executable, "-c", script])
    assert re.search(r"^ *90 +storage +0.001 GB-month +\$0.0001 +a few layers for a day", output, re.MULTILINE), output
    assert "['roles/artifactregistry.admin'] ('repository',)" in output
    assert "['api'] 01_set_up_the_project ('90_create_another_repository', '90 · Create another repository')" in output


def test_new_role_is_in_the_generated_table_of_roles(tmp_path: Path) -> None:
    book = json.loads(documents.notebooks()[2].read_text(encoding="utf-8"))
    role = {"role": "roles/cloudkms.viewer", "permissions": ["cloudkms.locations.get"], "purpose": "keys"}
    book["metadata"]["workbook"]["roles"] = [role]
    path = tmp_path / "90_keys.ipynb"
    path.write_text(json.dumps(book), encoding="utf-8")
    page = tables.GOOGLE.read_text(encoding="utf-8")
    assert "| `roles/cloudkms.viewer` | keys | 90 |" in tables.google(page, [*documents.notebooks(), path])


@pytest.mark.timeout(300)
def test_recipe_for_an_api_adds_one_package_and_the_named_lines(copy: Path) -> None:
    follow(copy, recipe("Add a Google API"))
    run(copy, [sys.executable, "-m", "ruff", "check", "--quiet", "sandbox", "tests/sandbox/test_cloud_kms.py"])
    assert changed(copy) == {
        *("sandbox/cloud_kms/__init__.py", "sandbox/cloud_kms/api.py", "tests/sandbox/test_cloud_kms.py"),
        *("sandbox/apis.py", "sandbox/project/service_usage.py", "sandbox/iam/roles.py", "pyproject.toml"),
        *("docs/fidelity.toml", "docs/fidelity.md"),
    }
