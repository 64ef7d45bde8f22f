"""Data flows one way: notebooks → helpers → clients → sandbox.

The contracts between packages are in pyproject.toml, for import-linter. Here each is broken once, and rules that a
contract can't express are checked in the syntax trees.
"""

from __future__ import annotations

import ast
import json
import re
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


# File, the import that is added to it, the beginning of the contract that this breaks, and how the report shows it.
FAULTS = [
    ("sandbox/errors.py", "import helpers.names", "The sandbox stands alone", "sandbox.errors -> helpers.names"),
    ("cli/doctor.py", "import sandbox.errors", "Everybody else reaches", "cli.doctor -> sandbox.errors"),
    ("helpers/names.py", "import sandbox.errors", "Everybody else reaches", "helpers.names -> sandbox.errors"),
    ("machine/errors.py", "import helpers.names", "The command stands on", "machine.errors -> helpers.names"),
    ("sandbox/state/clock.py", "import sandbox.iam.roles", "The sandbox: server, ", "state.clock -> sandbox.iam.roles"),
    ("sandbox/a_new_package.py", "", "The sandbox: server, ", "- sandbox.a_new_package"),
    ("sandbox/api/lists.py", "import sandbox.iam.roles", "No circle among the packages", ".api -> .iam"),
    (
        "sandbox/scanner/severity.py",
        "import sandbox.errors",
        "The scanner imports",
        "scanner.severity -> sandbox.errors",
    ),
    ("sandbox/oci/tags.py", "import sandbox.artifact_registry.tags", "docker's half and the API", "oci.tags -> "),
    (
        "sandbox/iam/decisions.py",
        "import sandbox.state.world",
        "What decides from",
        "iam.decisions -> sandbox.state.world",
    ),
    ("helpers/tags.py", "import helpers.access", "A topic of the helpers", "helpers.tags -> helpers.access"),
    ("cli/command_lint.py", "import cli.lab", "The command: main", "cli.command_lint -> cli.lab"),
]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The linter's report of each contract that is broken in a copy of the trees with every fault in it."""
    folder = tmp_path_factory.mktemp("trees")
    for name in TREES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for file, line, *_ in FAULTS:
        with (folder / file).open("a", encoding="utf-8") as text:
            text.write(f"\n{line}\n")
    ran = _lint(folder)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    _, *parts = re.split(r"^(.+)\n-{5,}\n", ran.stdout.partition("\nBroken contracts\n")[2], flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_contract_is_kept() -> None:
    ran = _lint(ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(("contract", "shown"), [fault[2:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_import_across_a_contract_is_reported(broken: dict[str, str], contract: str, shown: str) -> None:
    [report] = [text for title, text in broken.items() if title.startswith(contract)]
    assert shown in report


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


def test_only_listed_modules_ask_which_world_they_are_in() -> None:
    """Among the helpers only the target compares its name, and in the command only what sets a world up."""
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
