"""Serve both doors until a signal, do the hourly work meanwhile, and stop in an order that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn

from sandbox.app import Sandbox
from sandbox.artifact_registry import blobs, cleanup_job
from sandbox.cloud_build import firing, queue
from sandbox.cloud_run import deployment, instances
from sandbox.doors import edge
from sandbox.doors.certificates import Authority
from sandbox.doors.connection import Connection
from sandbox.doors.grpc_listener import Door
from sandbox.git_host import events, receiving, repositories
from sandbox.github_actions import runner
from sandbox.oci import uploads
from sandbox.state.clock import timestamp
from sandbox.state.world import World

_HOUR = 3600.0  # seconds
_CALLS = 16  # that are handled at once


async def serve(
    sandbox: Sandbox, listener: socket.socket, home: Path, about: dict[str, Any], edge_port: int = 0
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        home: folder in which `sandbox.json` is written as soon as both doors are open, and removed before they close.
        about: the contents of that file about the world; process and ports are added.
        edge_port: port of the proxy for gcloud and the clients; 0 takes any free one.
    """
    # Commits wait for the disk, and must not take all threads from lookups meanwhile.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_CALLS, thread_name_prefix="call"))
    server = _http_server(sandbox)
    rpc = Door(sandbox, sandbox.world.now)
    http = functools.partial(Connection, server.config, server.server_state, {})
    door = await edge.listen(Authority(home / "ca"), http, rpc.connect, edge_port)
    await server.startup(sockets=[listener])
    await _daily(sandbox.world)
    ports = {"port": listener.getsockname()[1], "edge_port": door.sockets[0].getsockname()[1]}
    about |= {"pid": os.getpid(), **ports, "started": timestamp(dt.datetime.now(dt.UTC))}
    await asyncio.to_thread(repositories.write_sign_in, sandbox.world, ports["port"])
    write_atomically(home / "sandbox.json", json.dumps(about, indent=1) + "\n", 0o644)
    world = sandbox.world
    world.account_watchers += [world.part(queue.Queue).end_account, world.part(instances.Instances).end_account]
    await asyncio.to_thread(queue.recover, world)
    await asyncio.to_thread(world.part(events.Events).listen, "triggers", firing.on_event)
    await asyncio.to_thread(world.part(events.Events).listen, "actions", runner.on_event)
    await asyncio.to_thread(runner.recover, world)
    await asyncio.to_thread(receiving.recover, world)
    await asyncio.to_thread(deployment.recover, world)
    print(f"ready http://localhost:{about['port']}", flush=True)
    await _until_signal(world)
    # Builds stop first: their last requests are answered while the sandbox still serves.
    await asyncio.to_thread(world.part(events.Events).close)
    await asyncio.to_thread(world.part(runner.Runner).close)
    await asyncio.to_thread(world.part(queue.Queue).close)
    (home / "sandbox.json").unlink(missing_ok=True)
    door.close()
    await asyncio.to_thread(rpc.close)
    for connection in list(server.server_state.connections):
        # An idle TLS connection would wait for its peer to close, and the peer is idle as well.
        if isinstance(connection, Connection) and (not connection.cycle or connection.cycle.response_complete):
            connection.transport.abort()
    await server.shutdown(sockets=[listener])


def _http_server(sandbox: Sandbox) -> uvicorn.Server:
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
    return server


async def _until_signal(world: World) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    while not stopped.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), _HOUR)
            break
        await _daily(world)
        uploads.forget_idle(world)
        await asyncio.to_thread(blobs.collect, world)


async def _daily(world: World) -> None:
    """Run the daily jobs that are due, also those of a midnight at which the world was closed."""
    await asyncio.to_thread(cleanup_job.travel, world, dt.timedelta())


def listen(port: int) -> socket.socket:
    """Open the plain port on loopback; raises OSError if the port is in use."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    return listener


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that readers see all of it or nothing."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.touch(mode=mode)
    part.write_text(text)
    part.rename(path)


def event_loop() -> asyncio.AbstractEventLoop:
    """Make the event loop of the sandbox: uvloop's, which is faster, if it is installed on this system."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
