"""Linters that are too large for the lock, in a separate environment: zizmor, pre-commit and yamllint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = [f".github/workflows/{name}.yml" for name in ("test", "weekly", "real", "engines", "image")]
LAYOUT = "{extends: default, rules: {line-length: {max: 130}, document-start: disable, truthy: disable}}"

pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="installs three tools: make soak"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linters")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
    install = [str(folder / "bin" / "pip"), "install", "--quiet", "zizmor", "pre-commit", "yamllint"]
    subprocess.run(install, check=True, timeout=600)
    return folder / "bin"


def lint(tools: Path, tool: str, *arguments: str) -> None:
    command = [str(tools / tool), *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_workflows_are_safe(tools: Path) -> None:
    lint(tools, "zizmor", "--offline", "--config", ".github/zizmor.yml", *WORKFLOWS, ".github/dependabot.yml")


def test_hooks_are_valid(tools: Path) -> None:
    lint(tools, "pre-commit", "validate-config", ".pre-commit-config.yaml")


def test_layout_is_consistent(tools: Path) -> None:
    files = [".github/dependabot.yml", ".pre-commit-config.yaml", "cloudbuild.yaml", "cloudbuild.test.yaml"]
    lint(tools, "yamllint", "--strict", "-d", LAYOUT, *WORKFLOWS, *files)
