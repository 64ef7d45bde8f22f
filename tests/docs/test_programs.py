"""Programs that tests hold as text, for a kernel or another process, import only what exists in the workbook.

No other check notices, because such a program may fail in a process whose end the test expects anyway.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1]
OURS = ("helpers", "sandbox", "machine", "cli", "tests", "engine", "room")


def _programs(source: str) -> Iterator[ast.Module]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import " in node.value:
            try:
                yield ast.parse(node.value)
            except (SyntaxError, ValueError):
                continue


def _is_module(package: ModuleType, name: str) -> bool:
    return hasattr(package, "__path__") and importlib.util.find_spec(f"{package.__name__}.{name}") is not None


def missing(source: str) -> list[str]:
    """Return the names that the programs in a file import from the workbook and that don't exist."""
    found = []
    for program in _programs(source):
        for node in ast.walk(program):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS:
                module = importlib.import_module(node.module)
                found += [
                    f"{node.module}.{name.name}"
                    for name in node.names
                    if not hasattr(module, name.name) and not _is_module(module, name.name)
                ]
    return found


def test_programs_in_tests_import_what_exists() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(TESTS.rglob("*.py"))}
    found = {str(path.relative_to(TESTS)): missing(text) for path, text in texts.items()}
    assert not {path: names for path, names in found.items() if names}


def test_missing_import_of_a_program_is_found() -> None:
    assert missing('run("""\nfrom helpers import names, nothing\nfrom helpers.names import nowhere\n""")') == [
        "helpers.nothing",
        "helpers.names.nowhere",
    ]
