"""gcloud's component local-extract: what reads an image of the engine, for a scan on demand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

WAYS: Final = (
    "Add it with `gcloud components install local-extract`, or, where gcloud is apt's, "
    "`sudo apt-get install google-cloud-cli-local-extract`."
)


def is_there() -> bool:
    """Whether the gcloud on the PATH has it."""
    gcloud = shutil.which("gcloud")
    return gcloud is not None and (Path(gcloud).resolve().parent / "local-extract").is_file()
