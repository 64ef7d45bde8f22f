"""Fetch the archive's lists of packages for the workbook alone. A container's image seldom has the system's.

They are kept in the engine's home (`tools/apt`), so that later calls needn't fetch them again. Lists that are too old
to find a package are fetched anew. The system's own lists aren't changed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from machine import private_engine

# The size of the lists of Debian 13's main.
_SIZE = "about 10 MB"


def folder() -> Path:
    """Return the folder of the lists. It may not exist yet."""
    return private_engine.home() / "tools" / "apt" / "lists"


def options() -> tuple[str, ...]:
    """Return apt's options for using these lists."""
    state = folder().parent
    return (
        *("-o", f"Dir::State={state}", "-o", "Dir::State::status=/var/lib/dpkg/status"),
        *("-o", f"Dir::Cache={state / 'cache'}", "-o", "Acquire::GzipIndexes=true", "-o", "Acquire::Languages=none"),
    )


def each(echo: Callable[[str], None]) -> Iterator[tuple[str, ...]]:
    """Yield options for the lists that were fetched before, and then for newly fetched ones."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder().parent / part).mkdir(parents=True, exist_ok=True)
    if any(path.is_file() for path in folder().iterdir()):
        yield options()
    echo(f"Fetching the distribution's list of packages, {_SIZE}.")
    # It fails if one third-party source is out of reach. The package may be found all the same.
    subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *options(), "update"],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    yield options()
