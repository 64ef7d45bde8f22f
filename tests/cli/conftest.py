"""The `workbook` command as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from helpers.target import ROOT


@pytest.fixture
def workbook(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `workbook VERB …` in the world, with more variables of the test's own if need be."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run
