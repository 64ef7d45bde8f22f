"""The API calls for the engine itself, its network, and volumes."""

from __future__ import annotations

import os
import platform
import secrets
from typing import Any

from engine import present
from engine.errors import Refused, bad_request, not_found, unsupported
from engine.machine import Machine
from engine.server import API, OLDEST, Call, route
from engine.settings import default_platform

VERSION = "0.1"
NAME = "workbook engine"
LACKS = (
    "WARNING: No isolation between containers: they are processes of one user",
    "WARNING: No memory, processor or process limits",
    "WARNING: One network: the machine's own",
)
NO_READ_ONLY = "WARNING: Under proot, what is bound into a container can't be read-only"


@route("GET", "/_ping")
@route("HEAD", "/_ping")
def ping(call: Call) -> None:
    """Answer a ping. A header names the classic builder."""
    call.reply(200, b"OK", (("Builder-Version", "1"), ("Cache-Control", "no-cache")))


@route("GET", "/version")
def version(call: Call) -> None:
    """Answer `docker version`."""
    kernel, architecture = platform.release(), default_platform().partition("/")[2]
    details = {"ApiVersion": API, "Arch": architecture, "KernelVersion": kernel, "MinAPIVersion": OLDEST, "Os": "linux"}
    call.reply(
        200,
        {
            "Platform": {"Name": NAME},
            "Components": [{"Name": NAME, "Version": VERSION, "Details": details}],
            "Version": VERSION,
            "ApiVersion": API,
            "MinAPIVersion": OLDEST,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": architecture,
            "KernelVersion": kernel,
        },
    )


@route("GET", "/info")
def info(call: Call) -> None:
    """Answer `docker info`."""
    machine: Machine = call.engine
    containers = list(machine.containers.values())
    running = sum(one.running for one in containers)
    limits = ("MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet", "PidsLimit")
    call.reply(
        200,
        {
            "ID": NAME,
            "Name": platform.node(),
            "OperatingSystem": NAME,
            "OSType": "linux",
            "Architecture": platform.machine(),
            "KernelVersion": platform.release(),
            "ServerVersion": VERSION,
            "Driver": "copy",
            "DriverStatus": [["Roots made by", machine.means.name]],
            "DockerRootDir": str(machine.store.root),
            "Containers": len(containers),
            "ContainersRunning": running,
            "ContainersPaused": 0,
            "ContainersStopped": len(containers) - running,
            "Images": len(machine.store.images),
            "NCPU": os.cpu_count(),
            "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            **dict.fromkeys(limits, False),
            "OomKillDisable": False,
            "CgroupDriver": "none",
            "IPv4Forwarding": True,
            "Debug": False,
            "LoggingDriver": "json-file",
            "Plugins": {"Volume": ["local"], "Network": ["host"], "Authorization": None, "Log": ["json-file"]},
            "RegistryConfig": {
                "InsecureRegistryCIDRs": ["127.0.0.0/8"],
                "IndexConfigs": {},
                "Mirrors": [],
            },
            "DefaultRuntime": machine.means.name,
            "Runtimes": {machine.means.name: {"path": ""}},
            "SecurityOptions": [],
            "Labels": [],
            "Swarm": {"LocalNodeState": "inactive"},
            "IndexServerAddress": "https://index.docker.io/v1/",
            "Warnings": [*LACKS, *(() if machine.means.mounts else (NO_READ_ONLY,))],
        },
    )


@route("GET", "/system/df")
def usage(call: Call) -> None:
    """Answer `docker system df`."""
    machine: Machine = call.engine
    store, containers = machine.store, list(machine.containers.values())
    listed = [present.listed(one, with_size=(one.folder / "root").exists()) for one in containers]
    cached = [
        {"ID": key[:25], "Type": "regular", "InUse": False, "Shared": False, "Size": entry["layer"]["size"]}
        for key, entry in store.cache.items()
        if entry.get("layer")
    ]
    layers = sum(path.stat().st_size for path in (store.root / "blobs").iterdir())
    volumes = [
        {**one, "UsageData": {"Size": -1, "RefCount": len(machine.volume_users(one["Name"]))}}
        for one in machine.volumes()
    ]
    images = present.images(store, {}, containers)
    call.reply(
        200,
        {"LayersSize": layers, "Images": images, "Containers": listed, "Volumes": volumes, "BuildCache": cached},
    )


@route("GET", "/plugins")
def plugins(call: Call) -> None:
    """Answer `docker plugin ls`: there is none."""
    call.reply(200, [])


@route("GET", "/plugins/(?P<name>[^/]+)/json")
def plugin(call: Call) -> None:
    """Answer `docker plugin inspect`, which is also the last call of `docker inspect`."""
    raise not_found(f'plugin "{call.names["name"]}" not found')


@route("GET", "/(?:nodes|services|tasks|secrets|configs)(?:/[^/]+)?")
def swarm(call: Call) -> None:
    """Refuse calls that only the manager of a swarm can answer."""
    raise Refused(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
        "swarm and try again.",
        503,
    )


@route("POST", "/swarm/leave")
def leave_swarm(call: Call) -> None:
    """Answer `docker swarm leave`: there is none to leave."""
    raise Refused("This node is not part of a swarm", 503)


# ---- the one network

_HOST: dict[str, Any] = {
    "Name": "host",
    "Id": "0" * 63 + "1",
    "Created": "1970-01-01T00:00:00Z",
    "Scope": "local",
    "Driver": "host",
    "EnableIPv6": False,
    "IPAM": {"Driver": "default", "Options": None, "Config": []},
    "Internal": False,
    "Attachable": False,
    "Ingress": False,
    "ConfigFrom": {"Network": ""},
    "ConfigOnly": False,
    "Containers": {},
    "Options": {},
    "Labels": {},
}


@route("GET", "/networks")
def networks(call: Call) -> None:
    """Answer `docker network ls`."""
    filters = call.filters()
    wanted = {"name": lambda text: text in "host", "id": _HOST["Id"].startswith, "driver": lambda text: text == "host"}
    wanted |= {"type": lambda text: text == "builtin", "scope": lambda text: text == "local", "label": lambda _: False}
    for name in filters:
        if name not in wanted and name != "dangling":
            raise bad_request(f"Invalid filter '{name}'")
    shown = all(
        any(wanted[name](text) for text in texts) for name, texts in filters.items() if name in wanted and texts
    )
    call.reply(200, [_HOST] if shown else [])


@route("GET", "/networks/(?P<name>[^/]+)")
def network(call: Call) -> None:
    """Answer `docker network inspect`."""
    if call.names["name"] not in ("host", _HOST["Id"]):
        raise not_found(f"network {call.names['name']} not found")
    call.reply(200, _HOST)


@route("POST", "/networks/create")
def create_network(call: Call) -> None:
    """Refuse `docker network create`: the machine's network is the only one."""
    driver = call.document().get("Driver") or "bridge"
    if driver not in ("bridge", "host", "none", "null", "macvlan", "ipvlan", "overlay"):
        raise not_found(f'plugin "{driver}" not found')
    raise Refused("the workbook's engine has one network, the machine's own, and can't make another", 403)


@route("DELETE", "/networks/(?P<name>[^/]+)")
def remove_network(call: Call) -> None:
    """Refuse `docker network rm`."""
    if call.names["name"] in ("host", _HOST["Id"]):
        raise Refused("host is a pre-defined network and cannot be removed", 403)
    raise not_found(f"network {call.names['name']} not found")


@route("POST", "/networks/prune")
def prune_networks(call: Call) -> None:
    """Answer `docker network prune`: there is none to delete."""
    call.reply(200, {"NetworksDeleted": None})


# ---- volumes


@route("GET", "/volumes")
def volumes(call: Call) -> None:
    """Answer `docker volume ls`."""
    machine: Machine = call.engine
    filters, found = call.filters(), []
    for name in filters:
        if name not in ("name", "label", "dangling", "driver"):
            raise bad_request(f"Invalid filter '{name}'")
    for one in machine.volumes():
        free = not machine.volume_users(one["Name"])
        if "dangling" in filters and free != (filters["dangling"][0] in ("1", "true")):
            continue
        if filters.get("name") and not any(text in one["Name"] for text in filters["name"]):
            continue
        if filters.get("driver") and "local" not in filters["driver"]:
            continue
        if present.has_labels(one["Labels"] or {}, filters.get("label", ())):
            found.append(one)
    call.reply(200, {"Volumes": found, "Warnings": None})


@route("POST", "/volumes/create")
def create_volume(call: Call) -> None:
    """Answer `docker volume create`."""
    body = call.document()
    name, driver = body.get("Name") or secrets.token_hex(32), body.get("Driver")
    if driver not in (None, "", "local"):
        raise not_found(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
    if body.get("DriverOpts"):
        raise unsupported("DriverOpts of a volume")
    machine: Machine = call.engine
    call.reply(201, machine.make_volume(name, body.get("Labels") or {}))


@route("GET", "/volumes/(?P<name>[^/]+)")
def volume(call: Call) -> None:
    """Answer `docker volume inspect`."""
    call.reply(200, call.engine.volume(call.names["name"]))


@route("DELETE", "/volumes/(?P<name>[^/]+)")
def remove_volume(call: Call) -> None:
    """Answer `docker volume rm`."""
    call.engine.remove_volume(call.names["name"], force=call.is_set("force"))
    call.reply(204)


@route("POST", "/volumes/prune")
def prune_volumes(call: Call) -> None:
    """Answer `docker volume prune`: the unused ones without a name, or all."""
    machine: Machine = call.engine
    filters, gone = call.filters(), []
    everything = filters.get("all", ["false"])[0] in ("1", "true")
    for one in machine.volumes():
        named = len(one["Name"]) != 64
        if (named and not everything) or machine.volume_users(one["Name"]):
            continue
        if present.has_labels(one["Labels"] or {}, filters.get("label", ())):
            try:
                machine.remove_volume(one["Name"])
            except Refused:
                continue
            gone.append(one["Name"])
    call.reply(200, {"VolumesDeleted": gone or None, "SpaceReclaimed": 0})
