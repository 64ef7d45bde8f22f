"""`python -m room`: check that everything is there, then become JupyterHub."""

from __future__ import annotations

import dbm
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NoReturn

import bcrypt

from helpers.target import ROOT
from machine import engine
from machine.errors import MachineError
from room import places
from room.places import BadRoom

# JupyterHub's own proxy, which only npm has; PyPI's package of this name is a different one.
PROXY: Final = "configurable-http-proxy@5.3.0"
_LEASE: Final = "room"


def main() -> NoReturn:
    """Open the room, or print why that is impossible and exit with status 2."""
    try:
        names = places.learners()
        folder = places.folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = os.environ | {"WORKBOOK_ROOM_PROXY": str(proxy(folder)), "PYTHONPATH": str(ROOT)}
        # The Hub runs in the room's folder, and reads the list again there.
        environment["WORKBOOK_CLASS"] = str(Path(os.environ["WORKBOOK_CLASS"]).absolute())
        # One engine for the room, which runs before the first learner comes and as long as the Hub.
        found = engine.ensure(print)
        engine.lease(_LEASE, os.getpid())
        environment |= engine.environment(found)
    except (BadRoom, MachineError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    new = lead_password(folder)
    port = os.environ.get("WORKBOOK_ROOM_PORT") or "8000"
    print(f"The room is for {len(names)} learners: http://127.0.0.1:{port}")
    print("Each learner signs in with a name of the class list, and the first password that they give is theirs.")
    print(f"You lead as {places.lead()}" + (f", password {new}" if new else " with your password") + ".")
    print(f"Your page: http://127.0.0.1:{port}/services/room/", flush=True)
    config = str(ROOT / "room" / "hub_config.py")
    os.chdir(folder)
    # The Hub replaces this process, so that a signal to it stops the Hub.
    os.execve(sys.executable, [sys.executable, "-m", "jupyterhub", "--config", config], environment)  # noqa: S606


def proxy(folder: Path) -> Path:
    """Return JupyterHub's proxy: the one on the PATH, or one that npm installs into the room's folder.

    Raises:
        BadRoom: if there is neither the proxy nor npm, or npm fails.
    """
    if found := shutil.which("configurable-http-proxy"):
        return Path(found)
    installed = folder / "proxy" / "node_modules" / ".bin" / "configurable-http-proxy"
    if installed.exists():
        return installed
    npm = shutil.which("npm")
    if npm is None:
        raise BadRoom("JupyterHub's proxy needs Node.js 20 and npm. On Debian: sudo apt-get install nodejs npm")
    print(f"Installing {PROXY} into {folder / 'proxy'}.")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", f"--prefix={folder / 'proxy'}", PROXY]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600)
    if ran.returncode != 0 or not installed.exists():
        raise BadRoom(f"npm didn't install {PROXY}: {ran.stderr.strip()[-1000:]}")
    return installed


def lead_password(folder: Path) -> str:
    """Make the lead's password when the room is opened first, so that no learner can take the name; later return ""."""
    passwords = folder / "passwords"
    with dbm.open(str(passwords), "c", 0o600) as known:
        if places.lead() in known:
            return ""
        password = secrets.token_urlsafe(9)
        known[places.lead()] = bcrypt.hashpw(password.encode(), bcrypt.gensalt())
        return password


if __name__ == "__main__":
    main()
