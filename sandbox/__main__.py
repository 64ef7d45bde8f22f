"""`python -m sandbox`: open a world, serve it on loopback until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import logging
import resource
import secrets
import socket
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox import containers, seed, server
from sandbox.admin import checkup
from sandbox.app import Sandbox
from sandbox.artifact_analysis import automatic_scans
from sandbox.artifact_registry import blobs, cleanup_job
from sandbox.doors import log_lines
from sandbox.doors.connection import Connection
from sandbox.errors import is_disk_full
from sandbox.oci import signing
from sandbox.state.clock import Clock
from sandbox.state.pace import SLOW
from sandbox.state.schema import WrongSchema
from sandbox.state.world import World, WorldLocked

CANNOT_START = 3
PORT_TAKEN = 4
NOT_WHOLE = 5
_FILES = 1024  # open at once: connections, uploads, the database of each thread
_TOKEN_LENGTH = 20  # characters at least


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder of this world; made when it is not there")
    parser.add_argument("--port", type=int, default=5001, help="the plain port on loopback; 0 takes any free one")
    parser.add_argument("--edge-port", type=int, default=0, help="the proxy's port on loopback; 0 takes any free one")
    parser.add_argument("--project", default="", help="project id of a new world; one of its own when none is given")
    parser.add_argument("--region", default="us-central1", help="region that the learner starts with")
    parser.add_argument("--patience", type=float, default=60, help="seconds that a request may stand still")
    parser.add_argument("--slow", action="store_true", help="let changes take their time, as on Google")
    parser.add_argument(
        "--google-urls",
        action="store_true",
        help="tell deployed services under https://….run.app, for clients that all go through the edge",
    )
    parser.add_argument("--check", action="store_true", help="say whether the world is whole, and end")
    parser.add_argument("--repair", action="store_true", help="like --check, and mend what can be mended")
    parser.add_argument("--clock", type=_moment, help="fix the clock, for example at 2026-11-02T09:00:00Z")
    return parser.parse_args(argv)


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("a time needs its zone, for example 2026-11-02T09:00:00Z")
    return moment


def _admin_token(home: Path) -> str:
    path = home / "admin-token"
    token = path.read_text().strip() if path.exists() else ""
    # An empty file, which a full disk leaves, would let everybody in.
    if len(token) < _TOKEN_LENGTH:
        token = secrets.token_urlsafe(32)
        server.write_atomically(path, token)
    return token


def _misses() -> str:
    """Return what this machine lacks for a sandbox; empty if it has everything."""
    # Docker and the clients connect to localhost, and the doors listen on 127.0.0.1.
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    except OSError:
        found = set()
    if "127.0.0.1" not in found:
        where = ", ".join(sorted(found)) or "nowhere"
        return f"localhost leads to {where} and not to 127.0.0.1. Add the line '127.0.0.1 localhost' to /etc/hosts"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= _FILES
    if not enough:
        return f"this process may open {hard} files, and needs {_FILES}. Raise the limit: ulimit -n {_FILES}"
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, hard))
    return ""


def _checked(world: World, *, repair: bool) -> int:
    found = checkup.look(world, repair=repair)
    for one in found:
        print(one.sentence)
    world.close()
    return NOT_WHOLE if any(not one.repaired for one in found) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT.

    Returns:
        0 after a clean stop, 3 if it could not start, 4 if the port is in use, 5 if a checked world is damaged.
    """
    options = _arguments(argv)
    try:
        return _run(options)
    except (OSError, sqlite3.Error) as error:
        if not is_disk_full(error):
            raise
        print(f"The sandbox cannot go on: the disk that holds {options.home} is full. Make room.", file=sys.stderr)
        return CANNOT_START


def _run(options: argparse.Namespace) -> int:
    home: Path = options.home.resolve()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.StreamHandler()
    handler.setFormatter(log_lines.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if missing := _misses():
        print(f"The sandbox cannot start: {missing}.", file=sys.stderr)
        return CANNOT_START
    try:
        world = World(home / "state", Clock(options.clock))
    except (WorldLocked, WrongSchema, OSError, sqlite3.Error) as error:
        print(f"The sandbox cannot start: {error}.", file=sys.stderr)
        return CANNOT_START
    if options.check or options.repair:
        return _checked(world, repair=options.repair)
    try:
        listener = server.listen(options.port)
    except OSError as error:
        print(
            f"The sandbox cannot start on port {options.port}: {error.strerror}. Choose another with --port.",
            file=sys.stderr,
        )
        return PORT_TAKEN
    Connection.patience = options.patience
    blobs.sweep(world)
    signing.key(world)  # made now, in case the disk is full later
    project = options.project or f"ml-workbook-{secrets.token_hex(3)}"
    about = seed.prepare(world, home, project, options.region) | {"google_urls": options.google_urls}
    if options.slow:
        world.pace = SLOW
    scanner = automatic_scans.Scanner(world)
    scanner.start()
    containers.sweep(world)
    uvicorn_loop = asyncio.Runner(loop_factory=server.event_loop)
    with uvicorn_loop as runner:
        runner.run(server.serve(Sandbox(world, _admin_token(home)), listener, home, about, options.edge_port))
    scanner.stop()
    # Keeps the clock for the next start.
    cleanup_job.travel(world, dt.timedelta())
    containers.sweep(world)
    world.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
