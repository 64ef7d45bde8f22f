"""The API calls of `docker exec` and `docker cp`."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import tarfile
import tempfile
import threading
from typing import Any

from engine import archives, fields, trees, users
from engine.containers_api import one_of, send_records
from engine.errors import Refused, bad_request, conflict, not_found
from engine.machine import Machine
from engine.runs import STDERR, STDOUT, Log, Record, Run, now
from engine.server import Call, route


def _machine(call: Call) -> Machine:
    found: Machine = call.engine
    return found


# ---- further processes


@route("POST", "/containers/(?P<name>[^/]+)/exec")
def create_exec(call: Call) -> None:
    """Answer the first call of `docker exec`."""
    one, body = one_of(call), call.document()
    if not body.get("Cmd"):
        raise bad_request("No exec command specified")
    if not one.running:
        raise conflict(f"Container {one.id} is not running")
    fields.check_process(body)
    identity = secrets.token_hex(32)
    _machine(call).execs[identity] = {"container": one, "body": body, "run": None}
    one.execs.add(identity)
    call.reply(201, {"Id": identity})


def _exec(call: Call) -> dict[str, Any]:
    found = _machine(call).execs.get(call.names["name"])
    if found is None or found["container"].removed:
        raise not_found(f"No such exec instance: {call.names['name']}")
    return found


@route("POST", "/exec/(?P<name>[^/]+)/start")
def start_exec(call: Call) -> None:
    """Answer the second call of `docker exec`."""
    found, options = _exec(call), call.document()
    one, body = found["container"], found["body"]
    folder = one.folder / f"exec-{call.names['name'][:16]}"
    folder.mkdir(exist_ok=True)
    log = Log(folder / "log")
    if options.get("Detach"):
        found["run"] = _machine(call).execute(one, body, log, folder / "run")
        return call.reply(200)
    if not one.running:
        raise conflict(f"Container {one.id} is not running")
    # Send the head first: a client may lose output that it receives in one piece with the head.
    connection, incoming = call.hijack()
    try:
        run: Run = _machine(call).execute(one, body, log, folder / "run")
    except Refused as error:
        found["failed"] = 126
        record = Record(STDOUT, now(), f"{_of_exec(error)}\r\n".encode())
        return send_records(connection, iter([record]), {STDOUT}, tty=bool(body.get("Tty")))
    found["run"] = run
    if body.get("AttachStdin"):
        threading.Thread(target=_feed_exec, args=(run, incoming), daemon=True).start()
    wanted = {number for name, number in (("AttachStdout", STDOUT), ("AttachStderr", STDERR)) if body.get(name)}
    return send_records(connection, log.follow(0, run.over.is_set), wanted, tty=bool(body.get("Tty")))


def _of_exec(error: Refused) -> str:
    text = str(error)
    return f"exec failed: {text.removeprefix(users.NO_TASK)}" if text.startswith(users.NO_TASK) else text


def _feed_exec(run: Run, incoming: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        while block := incoming.read1(65536):
            if not run.give(block):
                return
        run.end_input()


@route("POST", "/exec/(?P<name>[^/]+)/resize")
def resize_exec(call: Call) -> None:
    """Set the size of a process's terminal."""
    run = _exec(call)["run"]
    if run is not None:
        run.resize(int(call.one("h") or 24), int(call.one("w") or 80))
    call.reply(200)


@route("GET", "/exec/(?P<name>[^/]+)/json")
def inspect_exec(call: Call) -> None:
    """Describe a process of `docker exec`."""
    found = _exec(call)
    run, body = found["run"], found["body"]
    over = run is not None and run.over.is_set()
    config = {"tty": bool(body.get("Tty")), "entrypoint": body["Cmd"][0], "arguments": body["Cmd"][1:]}
    call.reply(
        200,
        {
            "ID": call.names["name"],
            "Running": run is not None and not over,
            "ExitCode": run.exit_code if over else found.get("failed"),
            "ProcessConfig": {**config, "privileged": False},
            "OpenStdin": bool(body.get("AttachStdin")),
            "OpenStderr": bool(body.get("AttachStderr")),
            "OpenStdout": bool(body.get("AttachStdout")),
            "CanRemove": False,
            "ContainerID": found["container"].id,
            "DetachKeys": "",
            "Pid": run.pid if run is not None else 0,
        },
    )


# ---- docker cp


@route("HEAD", "/containers/(?P<name>[^/]+)/archive")
def about_path(call: Call) -> None:
    """Answer the first call of `docker cp`, for a path's attributes."""
    call.reply(200, None, (_stat(call),))


def _stat(call: Call) -> tuple[str, str]:
    one = one_of(call)
    root, path = one.place(call.one("path"))
    try:
        found = archives.about(root, path)
    except Refused as error:
        if error.status != 404:
            raise
        raise not_found(f"Could not find the file {call.one('path')} in container {call.names['name']}") from None
    return "X-Docker-Container-Path-Stat", base64.b64encode(json.dumps(found).encode()).decode()


@route("GET", "/containers/(?P<name>[^/]+)/archive")
def read_path(call: Call) -> None:
    """Answer `docker cp` out of a container."""
    header = _stat(call)
    root, path = one_of(call).place(call.one("path"))
    with tempfile.TemporaryFile(dir=_machine(call).store.root / "tmp") as file:
        archives.read(root, path, file)
        file.seek(0)
        call._head(200, (header, ("Content-Type", "application/x-tar"), ("Content-Length", str(file.seek(0, 2)))))
        file.seek(0)
        while block := file.read(1 << 20):
            call._handler.wfile.write(block)


@route("PUT", "/containers/(?P<name>[^/]+)/archive")
def write_path(call: Call) -> None:
    """Answer `docker cp` into a container."""
    one = one_of(call)
    root, path = one.place(call.one("path"))
    if not trees.resolve(root, path, last=True).exists():
        raise not_found(f"Could not find the file {call.one('path')} in container {call.names['name']}")
    archives.write(root, path, call.body, None)
    call.reply(200)


@route("GET", "/containers/(?P<name>[^/]+)/export")
def export(call: Call) -> None:
    """Answer `docker export`."""
    one = one_of(call)
    with tempfile.TemporaryFile(dir=_machine(call).store.root / "tmp") as file:
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for child in sorted(one.root().iterdir()):
                archive.add(child, child.name)
        file.seek(0)
        with call.chunks("application/x-tar") as send:
            while block := file.read(1 << 20):
                send(block)
