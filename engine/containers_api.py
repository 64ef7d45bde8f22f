"""The API calls for containers and their output."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

from engine import present
from engine.container import Container, signal_number
from engine.errors import bad_request, conflict, unsupported
from engine.launch import descendants
from engine.machine import Machine
from engine.runs import STDERR, STDOUT, Record
from engine.server import Call, route

_FRAMES = "application/vnd.docker.multiplexed-stream"
_FILTERS = {
    "id",
    "name",
    "label",
    "status",
    "ancestor",
    "exited",
    "health",
    "volume",
    "network",
    "before",
    "since",
    "publish",
    "expose",
}


_STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")


def _machine(call: Call) -> Machine:
    found: Machine = call.engine
    return found


def one_of(call: Call) -> Container:
    """Return the container that a call names."""
    return _machine(call).find(call.names["name"])


@route("GET", "/containers/json")
def list_containers(call: Call) -> None:
    """Answer `docker ps`."""
    filters = call.filters()
    for name in filters:
        if name not in _FILTERS:
            raise bad_request(f"Invalid filter '{name}'")
    for text in filters.get("status", ()):
        if text not in _STATES:
            raise bad_request(f"Invalid filter 'status={text}'")
    found = sorted(_machine(call).containers.values(), key=lambda one: one.about["created"], reverse=True)
    everything = (
        call.is_set("all") or "status" in filters or "exited" in filters or call.one("limit") not in ("", "0", "-1")
    )
    found = [one for one in found if (everything or one.running) and _passes(call, one, filters)]
    limit = int(call.one("limit") or 0)
    found = found[:limit] if limit > 0 else found
    call.reply(200, [present.listed(one, with_size=call.is_set("size")) for one in found])


def _passes(call: Call, one: Container, filters: dict[str, list[str]]) -> bool:
    store = _machine(call).store
    checks: dict[str, Callable[[str], bool]] = {
        "id": one.id.startswith,
        "name": lambda text: re.search(text, f"/{one.name}") is not None or re.search(text, one.name) is not None,
        "status": lambda text: one.about["state"]["Status"] == text,
        "ancestor": lambda text: one.about["image"] == store.find(text),
        "exited": lambda text: not one.running and str(one.about["state"]["ExitCode"]) == text,
        "health": lambda text: (one.health or {"Status": "none"})["Status"] == text,
        "volume": lambda text: any(text in (m.get("Name"), m["Destination"]) for m in one.about["mounts"]),
        "network": lambda text: text in ("host", one.host.get("NetworkMode")),
        "publish": lambda text: any(key.partition("/")[0] == text.partition("/")[0] for key in one.published()),
        "expose": lambda text: any(
            key.partition("/")[0] == text.partition("/")[0] for key in one.config.get("ExposedPorts") or {}
        ),
        "before": lambda text: one.about["created"] < _machine(call).find(text).about["created"],
        "since": lambda text: one.about["created"] > _machine(call).find(text).about["created"],
    }
    if not present.has_labels(one.config.get("Labels") or {}, filters.get("label", ())):
        return False
    return all(
        any(checks[name](text) for text in texts) for name, texts in filters.items() if name != "label" and texts
    )


@route("POST", "/containers/create")
def create(call: Call) -> None:
    """Answer `docker create`."""
    made, warnings = _machine(call).create(call.one("name"), call.document(), call.one("platform"))
    call.reply(201, {"Id": made.id, "Warnings": warnings})


@route("GET", "/containers/(?P<name>[^/]+)/json")
def inspect(call: Call) -> None:
    """Answer `docker inspect`."""
    call.reply(200, present.container(one_of(call), with_size=call.is_set("size")))


@route("POST", "/containers/(?P<name>[^/]+)/start")
def start(call: Call) -> None:
    """Answer `docker start`."""
    one = one_of(call)
    if one.running:
        return call.reply(304)
    _machine(call).start(one)
    return call.reply(204)


@route("POST", "/containers/(?P<name>[^/]+)/stop")
def stop(call: Call) -> None:
    """Answer `docker stop`."""
    call.reply(204 if one_of(call).stop(_seconds(call)) else 304)


def _seconds(call: Call) -> int | None:
    text = call.one("t")
    try:
        return int(text) if text else None
    except ValueError:
        raise bad_request(f"invalid time: {text}") from None


@route("POST", "/containers/(?P<name>[^/]+)/restart")
def restart(call: Call) -> None:
    """Answer `docker restart`."""
    one = one_of(call)
    one.stop(_seconds(call))
    _machine(call).start(one)
    call.reply(204)


@route("POST", "/containers/(?P<name>[^/]+)/kill")
def kill(call: Call) -> None:
    """Answer `docker kill`."""
    one, number = one_of(call), signal_number(call.one("signal") or "SIGKILL")
    if not one.running:
        raise conflict(f"Cannot kill container: {call.names['name']}: Container {one.id} is not running")
    if number == 9:
        one.kill()
    else:
        one.signal(number)
    call.reply(204)


@route("POST", "/containers/(?P<name>[^/]+)/rename")
def rename(call: Call) -> None:
    """Answer `docker rename`."""
    one, machine, name = one_of(call), _machine(call), call.one("name").removeprefix("/")
    if not name:
        raise bad_request("Neither old nor new names may be empty")
    if name == one.name:
        raise bad_request("Renaming a container with the same name as its current name")
    with machine.lock:
        other = next((c for c in machine.containers.values() if c.name == name), None)
        if other is not None:
            raise conflict(
                f'Error when allocating new name: Conflict. The container name "/{name}" is already in use by '
                f'container "{other.id}". You have to remove (or rename) that container to be able to reuse that name.'
            )
        one.about["name"] = name
        one.save()
    call.reply(204)


@route("DELETE", "/containers/(?P<name>[^/]+)")
def remove(call: Call) -> None:
    """Answer `docker rm`."""
    _machine(call).remove(one_of(call), force=call.is_set("force"), volumes=call.is_set("v"))
    call.reply(204)


@route("POST", "/containers/prune")
def prune(call: Call) -> None:
    """Answer `docker container prune`."""
    machine, filters, gone, freed = _machine(call), call.filters(), [], 0
    for one in list(machine.containers.values()):
        if not one.running and present.has_labels(one.config.get("Labels") or {}, filters.get("label", ())):
            freed += present.sizes(one)["SizeRw"] if (one.folder / "root").exists() else 0
            machine.remove(one, force=False, volumes=False)
            gone.append(one.id)
    call.reply(200, {"ContainersDeleted": gone or None, "SpaceReclaimed": freed})


@route("POST", "/containers/(?P<name>[^/]+)/wait")
def wait(call: Call) -> None:
    """Answer `docker wait`, which `docker run` uses too, to learn the exit code."""
    one, condition = one_of(call), call.one("condition") or "not-running"
    starts = one.starts
    with call.chunks("application/json") as send:
        with one.ended:
            while not _has_ended(one, condition, starts):
                one.ended.wait(1)
                if call.is_gone():
                    return
        code = one.about["state"]["ExitCode"]
        send(json.dumps({"Error": None, "StatusCode": code}).encode() + b"\n")


def _has_ended(one: Container, condition: str, starts: int) -> bool:
    if condition == "removed":
        return one.removed
    started = one.about["state"]["Status"] == "exited"
    if condition == "next-exit":
        return (
            one.removed
            or (started and one.starts > starts)
            or (started and starts > 0 and not one.running and one.starts > starts)
        )
    return one.removed or not one.running


@route("GET", "/containers/(?P<name>[^/]+)/top")
def top(call: Call) -> None:
    """Answer `docker top`."""
    one = one_of(call)
    if not one.running or one.run is None:
        raise conflict(f"Container {one.id} is not running")
    arguments = (call.one("ps_args") or "-ef").split()
    pids = {one.run.pid, *descendants(one.run.pid)}
    done = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines or "PID" not in lines[0]:
        raise bad_request("ps: " + (done.stderr.strip() or "the output has no column PID"))
    titles = lines[0].split()
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    place = titles.index("PID")
    call.reply(200, {"Titles": titles, "Processes": [row for row in rows if int(row[place]) in pids]})


@route("GET", "/containers/(?P<name>[^/]+)/(?:changes|stats)")
@route("POST", "/containers/(?P<name>[^/]+)/(?:update|pause|unpause|checkpoints)")
def not_done(call: Call) -> None:
    """Refuse a call that this engine doesn't support. Of a missing container, say that first."""
    one_of(call)
    raise unsupported(f"docker {call.path.rpartition('/')[2].replace('changes', 'diff')}")


@route("POST", "/commit")
def commit(call: Call) -> None:
    """Refuse `docker commit`."""
    _machine(call).find(call.one("container"))
    raise unsupported("docker commit")


# ---- output


def frame(record: Record) -> bytes:
    """Return a record as the API's frame."""
    return bytes([record.stream, 0, 0, 0]) + len(record.data).to_bytes(4, "big") + record.data


def _streams(call: Call) -> set[int]:
    return {number for name, number in (("stdout", STDOUT), ("stderr", STDERR)) if call.is_set(name)}


@route("GET", "/containers/(?P<name>[^/]+)/logs")
def logs(call: Call) -> None:
    """Answer `docker logs`."""
    one, wanted = one_of(call), _streams(call)
    if not wanted:
        raise bad_request("Bad parameters: you must choose at least one stream")
    tty, stamps = bool(one.config.get("Tty")), call.is_set("timestamps")
    since, until = _when(call.one("since")), _when(call.one("until"))

    def encoded(record: Record) -> bytes:
        data = f"{record.time} ".encode() + record.data if stamps else record.data
        return data if tty else frame(Record(record.stream, record.time, data))

    with call.chunks("application/vnd.docker.raw-stream" if tty else _FRAMES) as send:
        offset = one.log.size()
        records, _ = one.log.read()
        chosen = [r for r in records if r.stream in wanted and r.time >= since and (not until or r.time <= until)]
        tail = call.one("tail")
        if tail.isdigit():
            chosen = chosen[len(chosen) - int(tail) :] if int(tail) < len(chosen) else chosen
        for record in chosen:
            send(encoded(record))
        if call.is_set("follow"):
            for following in one.log.follow(offset, lambda: not one.running):
                if following is None:
                    if call.is_gone():
                        return
                elif following.stream in wanted:
                    send(encoded(following))


def _when(text: str) -> str:
    if not text or text == "0":
        return ""
    with contextlib.suppress(ValueError):
        return dt.datetime.fromtimestamp(float(text), dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    return text


@route("POST", "/containers/(?P<name>[^/]+)/attach")
def attach(call: Call) -> None:
    """Answer `docker attach`, which `docker run` uses before it starts a container."""
    one, wanted = one_of(call), _streams(call)
    offset = 0 if call.is_set("logs") else one.log.size()
    # Read before the answer: the client then starts the container, which may end a moment later.
    starts = one.starts if not one.running else one.starts - 1

    def is_over() -> bool:
        return one.removed or (one.starts > starts and not one.running) or bool(one.about["state"]["Error"])

    records = one.log.follow(offset, is_over)
    connection, incoming = call.hijack()
    if not call.is_set("stream"):
        return
    if call.is_set("stdin"):
        threading.Thread(target=_feed, args=(one, incoming, is_over), daemon=True).start()
    send_records(connection, records, wanted, tty=bool(one.config.get("Tty")))


def _feed(one: Container, incoming: Any, is_over: Callable[[], bool]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while block := incoming.read1(65536):
            while one.run is None or not one.running:
                if is_over():
                    return
                with one.ended:
                    one.ended.wait(0.5)
            if not one.run.give(block):
                return
        while one.run is None and not is_over():
            with one.ended:
                one.ended.wait(0.5)
        if one.run is not None:
            one.run.end_input()


def send_records(connection: socket.socket, records: Iterator[Record | None], wanted: set[int], *, tty: bool) -> None:
    """Send records to a client until there are no more, or it disconnects."""
    with contextlib.suppress(OSError):
        for record in records:
            if record is not None and record.stream in wanted:
                connection.sendall(record.data if tty else frame(record))
        connection.shutdown(socket.SHUT_WR)


@route("POST", "/containers/(?P<name>[^/]+)/resize")
def resize(call: Call) -> None:
    """Tell a container's terminal its size."""
    one = one_of(call)
    if one.run is not None:
        one.run.resize(int(call.one("h") or 24), int(call.one("w") or 80))
    call.reply(200)
