"""The archive's lists of packages, fetched for the workbook alone: a container's image seldom has the system's.

They lie in the engine's home (`tools/apt`) and stay, so that what needs them next does not fetch them again. Lists that
have become too old for a package to be found are fetched anew. Nothing of the system is changed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from machine import private_engine

# So many bytes of lists are fetched for Debian 13's main, once.
_SIZE = "about 10 MB"


def folder() -> Path:
    """Return where the lists lie. It may not exist yet."""
    return private_engine.home() / "tools" / "apt" / "lists"


def options() -> tuple[str, ...]:
    """Return apt's options that lead it to them."""
    state = folder().parent
    return (
        *("-o", f"Dir::State={state}", "-o", "Dir::State::status=/var/lib/dpkg/status"),
        *("-o", f"Dir::Cache={state / 'cache'}", "-o", "Acquire::GzipIndexes=true", "-o", "Acquire::Languages=none"),
    )


def each(echo: Callable[[str], None]) -> Iterator[tuple[str, ...]]:
    """Give the options of each state of the lists that is worth a try: as fetched before, then as fetched now."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder().parent / part).mkdir(parents=True, exist_ok=True)
    if any(path.is_file() for path in folder().iterdir()):
        yield options()
    echo(f"Fetching the distribution's list of packages, {_SIZE}.")
    # A third party's source out of reach makes it fail; what counts is whether a package is found afterwards.
    subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *options(), "update"],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    yield options()
