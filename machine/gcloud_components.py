"""The components of gcloud that notebooks need beside its core, which an archive of Google's leaves out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Name to a file that only the component brings, below the SDK's root: seen in the manifests of 528.0.0.
FILES: Final[Mapping[str, str]] = {
    "beta": "lib/surface/beta/__init__.py",
    "local-extract": "bin/local-extract",
}
# What each is for, and how many megabytes it takes to download.
PURPOSES: Final[Mapping[str, str]] = {
    "beta": "notebook 6 shows a build's log with it, less than 1 MB",
    "local-extract": "notebook 7 scans with it, about 33 MB",
}


def missing(program: str | None = None) -> tuple[str, ...]:
    """Return the names of those that a gcloud lacks: the one on the PATH, unless another is named. All without one."""
    found = program or shutil.which("gcloud")
    if found is None:
        return tuple(FILES)
    root = Path(found).resolve().parents[1]
    return tuple(name for name, file in FILES.items() if not (root / file).is_file())


def ways(name: str) -> str:
    """Return how to add a component. apt's gcloud has `beta` in its main package."""
    apt = f", or, where gcloud is apt's, `sudo apt-get install google-cloud-cli-{name}`" if name != "beta" else ""
    return f"Add it with `gcloud components install {name}`{apt}."
