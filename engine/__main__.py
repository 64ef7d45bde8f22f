"""The command `python -m engine --socket PATH --root FOLDER`, which serves until a signal ends it."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

from engine import builds_api, containers_api, images_api, jail, processes_api, server, system_api
from engine.errors import Refused
from engine.machine import Machine
from engine.store import Store

# Importing these modules registers their routes.
_APIS = (builds_api, containers_api, images_api, processes_api, system_api)


def main() -> int:
    """Serve the engine and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine", description="The workbook's own container engine.")
    parser.add_argument("--socket", type=Path, required=True, help="the Unix socket to listen on")
    parser.add_argument("--root", type=Path, required=True, help="the folder of images and containers")
    parser.add_argument("--way", choices=("", *jail.WAYS), default="", help="the only way to use to make roots")
    parser.add_argument("--pidfile", type=Path, help="where to write the process's number")
    options = parser.parse_args()
    root: Path = options.root.resolve()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.umask(0o022)
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another engine serves {root}.", file=sys.stderr)
            return 1
        try:
            machine = Machine(Store(root), jail.means(options.way))
        except Refused as error:
            print(error, file=sys.stderr)
            return 1
        options.socket.unlink(missing_ok=True)
        try:
            serving = server.Server(options.socket, machine)
        except OSError as error:
            print(f"{options.socket} can't be listened on: {error}", file=sys.stderr)
            return 1
        if options.pidfile:
            options.pidfile.write_text(f"{os.getpid()}\n")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=serving.shutdown).start())
        print(f"{system_api.NAME} {system_api.VERSION} serves {options.socket}; {machine.means.name}", flush=True)
        serving.serve_forever(poll_interval=0.1)
        machine.close()
        options.socket.unlink(missing_ok=True)
        if options.pidfile:
            options.pidfile.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
