"""Run one learner's server for the Hub: `workbook lab` with JupyterHub's module in place of JupyterLab's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from cli.lab import lab
from helpers.cell import addresses
from room import door, places

_SETTINGS: Final = {
    # Eleven notebooks that stay open took 1.5 GB; a room has one machine.
    "@jupyterlab/notebook-extension:tracker": {"kernelShutdown": True},
}
_IDLE_SECONDS: Final = 3600
_OPTIONS: Final = (
    "--ServerApp.jpserver_extensions=room.door=True",
    f"--MappingKernelManager.cull_idle_timeout={_IDLE_SECONDS}",
    "--MappingKernelManager.cull_interval=300",
    # So that the board can open a notebook in the same page.
    "--LabApp.expose_app_in_browser=True",
)


def main() -> int:
    """Serve until the Hub stops it; return the server's exit status."""
    home = places.home(os.environ["JUPYTERHUB_USER"])
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    pages = with_board(home / "lab" / "pages")
    os.environ[addresses.DOOR] = f"{os.environ['JUPYTERHUB_SERVICE_PREFIX']}{door.PLACE}"
    return lab(
        [*_OPTIONS, f"--LabApp.templates_dir={pages}", *sys.argv[1:]],
        print,
        home,
        server="jupyterhub.singleuser",
        settings=_SETTINGS,
    )


def with_board(folder: Path) -> Path:
    """Write JupyterLab's page with the lead's board into a folder, and return the folder.

    Raises:
        RuntimeError: if JupyterLab's page does not have the expected form.
    """
    from jupyterlab.commands import get_app_dir  # type: ignore[import-untyped]

    page = (Path(get_app_dir()) / "static" / "index.html").read_text(encoding="utf-8")
    script = f'<script defer="defer" src="{{{{ base_url | escape }}}}{door.PLACE}/board.js"></script></head>'
    if page.count("</head>") != 1:
        raise RuntimeError("JupyterLab's page has changed: there is no one place for the board's script.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(page.replace("</head>", script), encoding="utf-8")
    return folder


if __name__ == "__main__":
    sys.exit(main())
