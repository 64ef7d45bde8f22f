"""`python -m sandbox`: open a world, serve it on loopback until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import functools
import json
import logging
import os
import secrets
import signal
import socket
import sqlite3
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn

from sandbox import blobs, cleanup, containers, edge, scanning, seed
from sandbox.app import Sandbox
from sandbox.authority import Authority
from sandbox.builds import queue
from sandbox.clock import Clock, timestamp
from sandbox.connection import Connection
from sandbox.oci import uploads
from sandbox.pace import SLOW
from sandbox.rpc.door import Door
from sandbox.world import World, WorldLocked, WorldTooNew

CANNOT_START = 3
_HOUR = 3600.0  # seconds
_CALLS = 16  # that are worked on at once


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder of this world; made when it is not there")
    parser.add_argument("--port", type=int, default=5001, help="the plain port on loopback; 0 takes any free one")
    parser.add_argument("--project", default="ml-workbook-lab", help="project id of a new world")
    parser.add_argument("--region", default="us-central1", help="region that the learner starts with")
    parser.add_argument("--patience", type=float, default=60, help="seconds that a request may stand still")
    parser.add_argument("--slow", action="store_true", help="let changes take their time, as on Google (sandbox.pace)")
    parser.add_argument(
        "--google-urls",
        action="store_true",
        help="tell deployed services under https://….run.app, for clients that all go through the edge",
    )
    parser.add_argument("--clock", type=_moment, help="fix the clock, for example at 2026-11-02T09:00:00Z")
    return parser.parse_args(argv)


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("a time needs its zone, for example 2026-11-02T09:00:00Z")
    return moment


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    return listener


def _write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.touch(mode=mode)
    part.write_text(text)
    part.rename(path)


def _admin_token(home: Path) -> str:
    path = home / "admin-token"
    if not path.exists():
        _write_atomically(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


async def _daily(world: World) -> None:
    """Google's daily jobs run by themselves; a world that is open past midnight, or was closed then, has them too."""
    await asyncio.to_thread(cleanup.travel, world, dt.timedelta())


async def _serve(sandbox: Sandbox, listener: socket.socket, home: Path, about: dict[str, Any]) -> None:
    # A commit waits for the disk: as many as may wait so must not keep a lookup waiting for a thread.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_CALLS, thread_name_prefix="call"))
    config = uvicorn.Config(
        sandbox,
        http=Connection,
        ws="none",
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    http = functools.partial(Connection, config, server.server_state, {})
    rpc = Door(sandbox)
    door = await edge.listen(Authority(home / "ca"), http, rpc.connect, 0)
    about |= {
        "pid": os.getpid(),
        "port": listener.getsockname()[1],
        "edge_port": door.sockets[0].getsockname()[1],
        "started": timestamp(dt.datetime.now(dt.UTC)),
    }
    await server.startup(sockets=[listener])
    await _daily(sandbox.world)
    _write_atomically(home / "sandbox.json", json.dumps(about, indent=1) + "\n", 0o644)
    await asyncio.to_thread(queue.recover, sandbox.world)
    print(f"ready http://localhost:{about['port']}", flush=True)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    while not stopped.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), _HOUR)
            break
        await _daily(sandbox.world)
        uploads.forget_idle(sandbox.world)
        await asyncio.to_thread(blobs.collect, sandbox.world)
    # Builds first: what they still ask of the sandbox is answered while it serves.
    await asyncio.to_thread(queue.of(sandbox.world).stop)
    (home / "sandbox.json").unlink(missing_ok=True)
    door.close()
    await asyncio.to_thread(rpc.close)
    for connection in list(server.server_state.connections):
        # An idle TLS connection would wait for its peer's goodbye, and the peer is idle as well.
        if isinstance(connection, Connection) and (not connection.cycle or connection.cycle.response_complete):
            connection.transport.abort()
    await server.shutdown(sockets=[listener])


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT.

    Returns:
        0 after a clean stop, 3 when it could not start.
    """
    asked = _arguments(argv)
    home: Path = asked.home.resolve()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        world = World(home / "state", Clock(asked.clock))
    except (WorldLocked, WorldTooNew, OSError, sqlite3.Error) as error:
        print(f"The sandbox cannot start: {error}.", file=sys.stderr)
        return CANNOT_START
    try:
        listener = _listen(asked.port)
    except OSError as error:
        print(
            f"The sandbox cannot start on port {asked.port}: {error.strerror}. Choose another with --port.",
            file=sys.stderr,
        )
        return CANNOT_START
    Connection.patience = asked.patience
    blobs.sweep(world)
    about = seed.prepare(world, home, asked.project, asked.region) | {"google_urls": asked.google_urls}
    if asked.slow:
        world.pace = SLOW
    scanner = scanning.Scanner(world)
    scanner.start()
    containers.sweep(world)
    uvicorn_loop = asyncio.Runner(loop_factory=_loop)
    with uvicorn_loop as runner:
        runner.run(_serve(Sandbox(world, _admin_token(home)), listener, home, about))
    scanner.stop()
    # Questions in vain have moved the clock: the next start goes on from there.
    cleanup.travel(world, dt.timedelta())
    containers.sweep(world)
    world.close()
    return 0


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    sys.exit(main())
