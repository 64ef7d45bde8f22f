"""Data flows one way: notebooks → helpers → clients → sandbox. The syntax trees say whether it does."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a topic of `helpers` may import of `helpers`: names, the target, and vocabulary that belongs to no single topic.
_SHARED = {
    *("names", "target", "show", "progress", "prices", "fates", "registry", "snapshots", "policies"),
    *("iam", "rest", "clients"),
}
_TOPICS = (
    "projects",
    "repositories",
    "identity",
    "images",
    "checks",
    "preflight",
    "retention",
    "billing",
    "tags",
    "conventions",
    "pictures",
    "access",
    "builds",
    "deploys",
    "federation",
    "secret_store",
)
# Files that decide from their arguments alone.
_PURE = (
    "sandbox/permissions.py",
    "sandbox/clock.py",
    "sandbox/errors.py",
    "sandbox/retention.py",
    "sandbox/builds/substitutions.py",
    "sandbox/builds/validation.py",
    "sandbox/builds/plan.py",
)
_PURE_MAY = {"sandbox/permissions.py": {"sandbox.roles"}}


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


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("helpers", ("sandbox", "tests", "sample_app", "verbs")),
        ("verbs", ("sandbox", "tests", "sample_app")),
        ("machine", ("sandbox", "helpers", "tests", "sample_app", "verbs")),
        ("sandbox", ("helpers", "machine", "tests", "sample_app", "verbs")),
        ("sample_app", ("helpers", "machine", "sandbox", "tests", "verbs")),
    ],
)
def test_a_room_imports_none_that_is_not_its_own(folder: str, forbidden: tuple[str, ...]) -> None:
    modules = _modules(folder)
    assert modules
    broken = {str(path.relative_to(ROOT)): found for path in modules if (found := _under(_of(path), *forbidden))}
    assert not broken


def test_topics_of_helpers_do_not_import_each_other() -> None:
    for topic in _TOPICS:
        found = {name.split(".")[1] for name in _under(_of(ROOT / "helpers" / f"{topic}.py"), "helpers")}
        assert found <= _SHARED, f"helpers/{topic}.py imports {found}"


def test_the_two_halves_of_the_sandbox_meet_in_the_world_only() -> None:
    for path in _modules("sandbox/google"):
        assert not {name for name in _of(path) if name.startswith("sandbox.oci")}, path
    for path in _modules("sandbox/oci"):
        assert not {name for name in _of(path) if name.startswith("sandbox.google")}, path


def test_no_google_client_runs_inside_the_sandbox() -> None:
    for path in _modules("sandbox"):
        clients = {name for name in _of(path) if name.startswith("google.cloud.") and ".types" not in f".{name}"}
        assert not clients, f"{path} imports {clients}; message types are the schema, clients belong to helpers"


@pytest.mark.parametrize("name", _PURE)
def test_pure_files_import_nothing_of_ours(name: str) -> None:
    assert _under(_of(ROOT / name), "sandbox") <= {
        f"{allowed}.{part}" for allowed in _PURE_MAY.get(name, set()) for part in ("ROLES", "Role")
    } | _PURE_MAY.get(name, set())


def test_only_target_knows_that_there_are_two_worlds() -> None:
    """No helper but the target compares its name, and of the verbs those that set a world up."""
    allowed = {
        "target.py",
        "google_world.py",
        "settings.py",
        "cli.py",
        "runner.py",
        "plans.py",
        "stale.py",
        "lab.py",
    }
    for path in (*_modules("helpers"), *_modules("verbs")):
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
            found = _under(set(_imports(ast.parse(source))), "sandbox", "machine", "tests", "sample_app")
            assert not found, f"{path.name}, cell {cell['id']}: imports {found}"
