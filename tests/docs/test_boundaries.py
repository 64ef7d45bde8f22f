"""Data flows one way: notebooks → helpers → clients → sandbox.

The contracts between packages are in pyproject.toml, for import-linter; here each is broken once, and what they can't
say is read from the syntax trees.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("cli", "helpers", "machine", "sandbox")


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trees and their contracts, to break."""
    folder = tmp_path_factory.mktemp("trees")
    for name in TREES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_every_contract_is_kept() -> None:
    ran = _lint(ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("sandbox/errors.py", "import helpers.names", "The sandbox stands alone"),
        ("cli/doctor.py", "import sandbox.errors", "over the network only"),
        ("helpers/names.py", "import sandbox.errors", "over the network only"),
        ("machine/errors.py", "import helpers.names", "The command stands on the helpers"),
        ("sandbox/state/clock.py", "import sandbox.iam.roles", "server, dispatch, services"),
        ("sandbox/a_new_room.py", "", "server, dispatch, services"),
        ("sandbox/api/lists.py", "import sandbox.state.world\nimport sandbox.iam.roles", "No circle"),
        ("sandbox/scanner/severity.py", "import sandbox.errors", "The scanner"),
        ("sandbox/oci/tags.py", "import sandbox.artifact_registry.tags", "meet in the catalog"),
        ("sandbox/iam/decisions.py", "import sandbox.state.world", "never reaches the database"),
        ("helpers/tags.py", "import helpers.access", "imports no other topic"),
        ("cli/command_lint.py", "import cli.lab", "main, verbs, and what several verbs need"),
    ],
)
def test_an_import_across_a_contract_is_caught(trees: Path, file: str, line: str, contract: str) -> None:
    path = trees / file
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n")
    try:
        ran = _lint(trees)
    finally:
        path.unlink() if before is None else path.write_text(before)
    assert ran.returncode == 1
    assert any(contract in said and "BROKEN" in said for said in ran.stdout.splitlines()), ran.stdout


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError("relative imports hide where a name comes from")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _of(path: Path) -> set[str]:
    return set(_imports(ast.parse(path.read_text())))


def _under(imports: set[str], *packages: str) -> set[str]:
    return {name for name in imports if name.split(".")[0] in packages}


def test_no_tree_imports_the_tests_or_the_sample_app() -> None:
    for folder in (*TREES, "engine"):
        for path in _modules(folder):
            assert not _under(_of(path), "tests", "sample_app"), path
    for path in _modules("sample_app"):
        assert not _under(_of(path), *TREES, "tests"), path


def test_no_google_client_runs_inside_the_sandbox() -> None:
    for path in _modules("sandbox"):
        clients = {name for name in _of(path) if name.startswith("google.cloud.") and ".types" not in f".{name}"}
        assert not clients, f"{path} imports {clients}; message types are the schema, clients belong to helpers"


def test_only_target_knows_that_there_are_two_worlds() -> None:
    """No helper but the target compares its name, and of the command those that set a world up."""
    allowed = {
        "target.py",
        "google_world.py",
        "settings.py",
        "main.py",
        "runner.py",
        "plans.py",
        "stale.py",
        "lab.py",
    }
    for path in (*_modules("helpers"), *_modules("cli")):
        if path.name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                parts = [node.left, *node.comparators]
                if not any(isinstance(part, ast.Attribute) and part.attr == "name" for part in parts):
                    continue
                literals = {part.value for part in parts if isinstance(part, ast.Constant)}
                assert not literals & {"gcp", "sandbox"}, f"{path.name}:{node.lineno} asks which world it is in"


def test_notebooks_import_helpers_and_clients_only() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] != "code" or source.startswith("%%"):
                continue
            imported = set(_imports(ast.parse(source)))
            found = _under(imported, "sandbox", "machine", "cli", "tests", "sample_app")
            found |= {name for name in imported if name.startswith(("helpers.cell", "helpers.transport"))}
            assert not found, f"{path.name}, cell {cell['id']}: imports {found}"
