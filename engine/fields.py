"""Check the fields of requests that create containers and processes.

No field is accepted and then ignored. One that differs from its default is supported (`_DONE`), only stored (`_NOTED`),
has a value that holds here anyway (`_VALUES`), is named in a warning, or is refused with status 501.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import bad_request, unsupported

_NOTHING: tuple[Any, ...] = (None, "", 0, False, [], {}, [0, 0])
_DONE = frozenset(
    (
        *("Binds", "AutoRemove", "NetworkMode", "PortBindings", "PublishAllPorts", "ReadonlyRootfs", "Tmpfs", "Mounts"),
        *("Ulimits", "ExtraHosts", "Dns", "DnsSearch", "DnsOptions", "GroupAdd"),
        # Each process has a launcher as its parent, which forwards signals and reaps orphans.
        "Init",
    )
)
# Used by the client alone, or only shown by `docker inspect`.
_NOTED = frozenset({"ContainerIDFile", "ConsoleSize", "Annotations"})
# Values besides the default that describe how this engine behaves anyway.
_VALUES: Mapping[str, tuple[Any, ...]] = {
    "IpcMode": ("host",),
    "PidMode": ("host",),
    "UTSMode": ("host",),
    "UsernsMode": ("host",),
    "CgroupnsMode": ("host",),
    "VolumeDriver": ("local",),
    "Isolation": ("default",),
    "MemorySwappiness": (-1,),
    "PidsLimit": (-1,),
    "OomKillDisable": (False,),
}
# Discarded with a warning, as by a Docker Engine whose kernel has no control groups.
DISCARDED: Mapping[str, str] = {
    **dict.fromkeys(("Memory", "MemoryReservation", "MemorySwap", "KernelMemory"), "memory"),
    "PidsLimit": "PIDs",
    **dict.fromkeys(("NanoCpus", "CpuQuota", "CpuPeriod", "CpuShares", "CpusetCpus", "CpusetMems"), "CPU"),
}
CAPABILITIES = ("CapDrop", "CapAdd", "SecurityOpt")
# Every field that may differ from its default.
TAKEN = _DONE | _NOTED | DISCARDED.keys() | set(CAPABILITIES)
_CONFIG = frozenset(
    (
        *("Hostname", "User", "AttachStdin", "AttachStdout", "AttachStderr", "ExposedPorts", "Tty", "OpenStdin"),
        *("StdinOnce", "Env", "Cmd", "Healthcheck", "Image", "Volumes", "WorkingDir", "Entrypoint", "Labels"),
        *("StopSignal", "StopTimeout", "Shell"),
    )
)
_PROCESS = frozenset(
    (
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "Tty",
        "Cmd",
        "Env",
        "User",
        "WorkingDir",
        "Detach",
        "ConsoleSize",
        "Container",
    )
)
_BIND_MODES = frozenset({"ro", "rw", "z", "Z", "cached", "consistent", "delegated", "rprivate"})
ULIMITS = frozenset(
    ("core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "stack")
)


def _holds(value: Any) -> bool:
    return value not in _NOTHING


def check(body: Mapping[str, Any]) -> None:
    """Raise Refused, with the field's name, if a container is requested that this engine can't make."""
    host = body.get("HostConfig") or {}
    for name, value in host.items():
        if not _holds(value) or name in _DONE | _NOTED or value in _VALUES.get(name, ()):
            continue
        if name in DISCARDED or name in CAPABILITIES or _is_default(name, value):
            continue
        raise unsupported(f"HostConfig.{name}")
    _check_parts(host)
    for name, value in body.items():
        if name not in ("HostConfig", "NetworkingConfig") and _holds(value) and name not in _CONFIG:
            raise unsupported(f"Config.{name}")
    if _holds((body.get("Healthcheck") or {}).get("StartInterval")):
        raise unsupported("Config.Healthcheck.StartInterval")
    for endpoint in ((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}).values():
        for name, value in (endpoint or {}).items():
            if _holds(value):
                raise unsupported(f"NetworkingConfig.EndpointsConfig.{name}")
    work = body.get("WorkingDir") or "/"
    if not str(work).startswith("/"):
        raise bad_request(f"the working directory '{work}' is invalid, it needs to be an absolute path")


def check_process(body: Mapping[str, Any]) -> None:
    """Raise Refused, with the field's name, if `docker exec` requests a process that this engine can't start."""
    for name, value in body.items():
        if _holds(value) and name not in _PROCESS:
            raise unsupported(f"{name} of a further process")


def _is_default(name: str, value: Any) -> bool:
    if name == "RestartPolicy":
        return value.get("Name") in (None, "", "no")
    if name == "LogConfig":
        return value.get("Type") in (None, "", "json-file") and not value.get("Config")
    return False


def _check_parts(host: Mapping[str, Any]) -> None:
    if host.get("NetworkMode") == "none":
        raise unsupported("HostConfig.NetworkMode none: all containers are on the machine's network")
    for text in host.get("Binds") or []:
        for mode in text.partition(":")[2].partition(":")[2].split(","):
            if mode and mode not in _BIND_MODES:
                raise unsupported(f"HostConfig.Binds with the mode {mode}")
    for one in host.get("Mounts") or []:
        if one.get("Type") not in ("bind", "volume", "tmpfs"):
            raise unsupported(f"HostConfig.Mounts of the type {one.get('Type')}")
        for name in ("BindOptions", "VolumeOptions", "TmpfsOptions"):
            if any(_holds(value) and value != "rprivate" for value in (one.get(name) or {}).values()):
                raise unsupported(f"HostConfig.Mounts.{name}")
    for place, options in (host.get("Tmpfs") or {}).items():
        if options not in ("", "rw"):
            raise unsupported(f"HostConfig.Tmpfs with options: {place}:{options}")
    for one in host.get("Ulimits") or []:
        if one.get("Name") not in ULIMITS:
            raise unsupported(f"HostConfig.Ulimits {one.get('Name')}")
    for key, bound in (host.get("PortBindings") or {}).items():
        if not key.endswith("/tcp"):
            raise unsupported(f"HostConfig.PortBindings of another protocol than tcp: {key}")
        if len(bound or ()) > 1:
            raise unsupported(f"HostConfig.PortBindings that publish {key} more than once")


def completed(host: Mapping[str, Any], runtime: str) -> dict[str, Any]:
    """Return a HostConfig with every field that clients read: docker-py reads `LogConfig` of each container."""
    listed = (
        *("Dns", "DnsOptions", "DnsSearch", "Devices", "Ulimits", "BlkioWeightDevice", "BlkioDeviceReadBps"),
        *("BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"),
    )
    absent = (
        *("Binds", "VolumesFrom", "CapAdd", "CapDrop", "ExtraHosts", "GroupAdd", "Links", "SecurityOpt"),
        *("DeviceCgroupRules", "DeviceRequests", "MemorySwappiness", "PidsLimit", "MaskedPaths", "ReadonlyPaths"),
    )
    texts = (
        *("ContainerIDFile", "VolumeDriver", "Cgroup", "PidMode", "UTSMode", "UsernsMode", "Isolation"),
        *("CgroupParent", "CpusetCpus", "CpusetMems"),
    )
    numbers = (
        *("OomScoreAdj", "CpuShares", "Memory", "NanoCpus", "BlkioWeight", "CpuPeriod", "CpuQuota", "ShmSize"),
        *("CpuRealtimePeriod", "CpuRealtimeRuntime", "MemoryReservation", "MemorySwap", "CpuCount", "CpuPercent"),
        *("IOMaximumIOps", "IOMaximumBandwidth"),
    )
    switches = ("AutoRemove", "Privileged", "PublishAllPorts", "ReadonlyRootfs", "OomKillDisable")
    defaults: dict[str, Any] = {
        **{name: [] for name in listed},
        **dict.fromkeys(absent),
        **dict.fromkeys(texts, ""),
        **dict.fromkeys(numbers, 0),
        **dict.fromkeys(switches, False),
        "ConsoleSize": [0, 0],
        "NetworkMode": "default",
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "IpcMode": "host",
        "CgroupnsMode": "host",
        "Runtime": runtime,
        "LogConfig": {"Type": "json-file", "Config": {}},
    }
    given = {name: value for name, value in host.items() if value not in (None, "") or name not in defaults}
    found = {**defaults, **given}
    if not found["LogConfig"].get("Type"):
        found["LogConfig"] = defaults["LogConfig"]
    for name in ("MemorySwappiness", "PidsLimit"):
        if found[name] in (-1, 0):
            found[name] = None
    return found
