"""One learner's server, as the Hub starts it: `workbook lab`, served by JupyterHub's module in JupyterLab's place."""

from __future__ import annotations

import os
import sys
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
)


def main() -> int:
    """Serve until the Hub ends it; returns the server's exit status."""
    home = places.home(os.environ["JUPYTERHUB_USER"])
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ[addresses.DOOR] = f"{os.environ['JUPYTERHUB_SERVICE_PREFIX']}{door.PLACE}"
    return lab([*_OPTIONS, *sys.argv[1:]], print, home, server="jupyterhub.singleuser", settings=_SETTINGS)


if __name__ == "__main__":
    sys.exit(main())
