"""The documents in which the API describes images and containers."""

from __future__ import annotations

import calendar
import contextlib
import datetime as dt
import fnmatch
import time
from collections.abc import Mapping
from typing import Any

from engine import fields
from engine.container import NEVER, Container, tree_size
from engine.errors import bad_request
from engine.store import Store


def seconds(text: str) -> int:
    """Return a time of the API as seconds since 1970, or 0 if it is invalid."""
    with contextlib.suppress(ValueError):
        return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
    return 0


def size(store: Store, key: str) -> int:
    """Return the size of an image's unpacked layers in bytes."""
    return sum(layer.shown for layer in store.images[key].layers)


def image(store: Store, key: str) -> dict[str, Any]:
    """Return the document of `docker image inspect`."""
    document = store.config(key)
    image_size = size(store, key)
    return {
        "Id": key,
        "RepoTags": store.names_of(key),
        "RepoDigests": store.digests_of(key),
        "Parent": "",
        "Comment": document.get("comment", ""),
        "Created": document.get("created", NEVER),
        "DockerVersion": document.get("docker_version", ""),
        "Author": document.get("author", ""),
        "Config": full_config(document.get("config") or {}),
        "Architecture": document.get("architecture", ""),
        "Os": document.get("os", "linux"),
        "Size": image_size,
        "GraphDriver": {"Data": None, "Name": "copy"},
        "RootFS": {"Type": "layers", "Layers": [layer.diff for layer in store.images[key].layers]},
        "Metadata": {"LastTagTime": NEVER},
    }


def full_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an image's configuration with defaults for the fields that Docker always shows."""
    always: dict[str, Any] = {"Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False}
    always |= {"AttachStderr": False, "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None, "Cmd": None}
    always |= {"Image": "", "Volumes": None, "WorkingDir": "", "Entrypoint": None, "OnBuild": None, "Labels": None}
    return {**always, **config}


def history(store: Store, key: str) -> list[dict[str, Any]]:
    """Return the rows of `docker history`, newest first."""
    found, layers = [], list(store.images[key].layers)
    lines = store.config(key).get("history") or [{} for _ in layers]
    steps = list(store.images[key].steps) or ["<missing>"] * len(lines)
    steps = [*steps[: len(lines)], *["<missing>"] * (len(lines) - len(steps))]
    if steps:
        steps[-1] = key
    for line, step in zip(lines, steps, strict=True):
        layer = None if line.get("empty_layer") or not layers else layers.pop(0)
        found.append(
            {
                "Id": step,
                "Created": seconds(line.get("created", "")),
                "CreatedBy": line.get("created_by", ""),
                "Tags": store.names_of(step) or None if step in store.images else None,
                "Size": layer.shown if layer else 0,
                "Comment": line.get("comment", ""),
            }
        )
    return found[::-1]


def images(store: Store, filters: dict[str, list[str]], containers: list[Container]) -> list[dict[str, Any]]:
    """Return the rows of `docker images`, newest first. Raises Refused for an unknown filter."""
    known = {"dangling", "label", "reference", "before", "since"}
    for name in filters:
        if name not in known:
            raise bad_request(f"Invalid filter '{name}'")
    created = {key: store.config(key).get("created", "") for key in list(store.images)}
    before = [created[store.get(name)] for name in filters.get("before", ())]
    since = [created[store.get(name)] for name in filters.get("since", ())]
    found = []
    for key, made in created.items():
        labels = (store.config(key).get("config") or {}).get("Labels") or {}
        tags, digests = store.names_of(key), store.digests_of(key)
        if any(made >= one for one in before) or any(made <= one for one in since):
            continue
        if not has_labels(labels, filters.get("label", ())):
            continue
        dangling = not tags and not digests
        if "dangling" in filters and dangling != (filters["dangling"][0].lower() in ("1", "true")):
            continue
        if filters.get("reference"):
            tags = [tag for tag in tags if any(_matches(tag, one) for one in filters["reference"])]
            digests = [one for one in digests if any(_matches(one, pattern) for pattern in filters["reference"])]
            if not tags and not digests:
                continue
        found.append(
            {
                "Id": key,
                "ParentId": "",
                "RepoTags": tags or (["<none>:<none>"] if not digests else []),
                "RepoDigests": digests or (["<none>@<none>"] if not tags else []),
                "Created": seconds(made),
                "Size": size(store, key),
                "SharedSize": -1,
                "Labels": labels or None,
                "Containers": sum(one.about["image"] == key for one in containers),
            }
        )
    return sorted(found, key=lambda one: one["Created"], reverse=True)


def _matches(name: str, pattern: str) -> bool:
    repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
    return any(one.count("/") == pattern.count("/") and fnmatch.fnmatchcase(one, pattern) for one in (name, repository))


def has_labels(labels: Mapping[str, str], wanted: Any) -> bool:
    """Return whether labels match all filters of the forms `NAME` and `NAME=value`."""
    for text in wanted:
        name, equals, value = text.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


# ---- containers


def state(one: Container) -> dict[str, Any]:
    """Return the field State of `docker inspect`."""
    about = one.about["state"]
    found = {
        "Status": about["Status"],
        "Running": one.running,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": one.run.pid if one.run is not None and one.running else 0,
        "ExitCode": about["ExitCode"],
        "Error": about["Error"],
        "StartedAt": about["StartedAt"],
        "FinishedAt": about["FinishedAt"],
    }
    if one.health is not None:
        found["Health"] = one.health
    return found


def ports(one: Container) -> dict[str, list[dict[str, str]] | None]:
    """Return the addresses at which a container's ports are published now."""
    if not one.running:
        return {}
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(one.config.get("ExposedPorts") or {})
    for key, wanted in one.published().items():
        port = one.forwards[key].port if key in one.forwards else int((wanted or [{}])[0].get("HostPort") or 0)
        address = (wanted or [{}])[0].get("HostIp") or "127.0.0.1"
        found[key] = [{"HostIp": address, "HostPort": str(port)}]
    return found


def container(one: Container, *, with_size: bool) -> dict[str, Any]:
    """Return a container's document for `docker inspect`."""
    argv = [*(one.config.get("Entrypoint") or []), *(one.config.get("Cmd") or [])]
    host = fields.completed(one.host, one.runtime)
    mode = host["NetworkMode"] if host["NetworkMode"] != "default" else "host"
    found = {
        "Id": one.id,
        "Created": one.about["created"],
        "Path": argv[0] if argv else "",
        "Args": argv[1:],
        "State": state(one),
        "Image": one.about["image"],
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": "",
        "Name": f"/{one.name}",
        "RestartCount": 0,
        "Driver": "copy",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": sorted(one.execs) or None,
        "HostConfig": host,
        "GraphDriver": {"Data": None, "Name": "copy"},
        "Mounts": one.about["mounts"],
        "Config": one.config,
        "NetworkSettings": {
            "Bridge": "",
            "SandboxID": "",
            "Ports": ports(one),
            "Gateway": "",
            "IPAddress": "",
            "MacAddress": "",
            "Networks": {mode: {"NetworkID": mode, "IPAddress": "", "Gateway": "", "Aliases": None}},
        },
    }
    if with_size:
        found |= sizes(one)
    return found


def sizes(one: Container) -> dict[str, int]:
    """Return the bytes that a container has written, and those of its whole tree."""
    total = tree_size(one.root())
    return {"SizeRw": max(total - int(one.about.get("base_size", total)), 0), "SizeRootFs": total}


def listed(one: Container, *, with_size: bool) -> dict[str, Any]:
    """Return a container's row of `docker ps`."""
    argv = [*(one.config.get("Entrypoint") or []), *(one.config.get("Cmd") or [])]
    argv = [*argv[:1], *(f"'{part}'" if " " in part else part for part in argv[1:])]
    shown = []
    for key, bound in ports(one).items():
        number, _, protocol = key.partition("/")
        about: dict[str, Any] = {"PrivatePort": int(number), "Type": protocol}
        for place in bound or [{}]:
            more = {"IP": place["HostIp"], "PublicPort": int(place["HostPort"])} if place else {}
            shown.append({**about, **more})
    found = {
        "Id": one.id,
        "Names": [f"/{one.name}"],
        "Image": one.config.get("Image", ""),
        "ImageID": one.about["image"],
        "Command": " ".join(argv),
        "Created": seconds(one.about["created"]),
        "Ports": shown,
        "Labels": one.config.get("Labels") or {},
        "State": one.about["state"]["Status"],
        "Status": status(one),
        "HostConfig": {"NetworkMode": one.host.get("NetworkMode") or "default"},
        "NetworkSettings": {"Networks": {}},
        "Mounts": one.about["mounts"],
    }
    return found | sizes(one) if with_size else found


def status(one: Container) -> str:
    """Return the column STATUS of `docker ps`."""
    about = one.about["state"]
    if about["Status"] == "created":
        return "Created"
    if one.running:
        health = one.health["Status"] if one.health else ""
        more = {"": "", "starting": " (health: starting)"}.get(health, f" ({health})")
        return f"Up {ago(about['StartedAt'])}{more}"
    return f"Exited ({about['ExitCode']}) {ago(about['FinishedAt'])} ago"


def ago(when: str) -> str:
    """Return how long ago a time was, as Docker words it."""
    gone = int(dt.datetime.now(dt.UTC).timestamp()) - seconds(when)
    if gone < 1:
        return "Less than a second"
    for limit, unit, word in ((60, 1, "second"), (120, 60, ""), (3600, 60, "minute"), (7200, 3600, "")):
        if gone < limit:
            count = gone // unit
            if not word:
                return "About a minute" if unit == 60 else "About an hour"
            return f"{count} {word}" if count == 1 else f"{count} {word}s"
    hours = gone // 3600
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"
