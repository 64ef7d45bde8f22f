"""The instructions of a Dockerfile that change the image's configuration alone."""

from __future__ import annotations

import json
import platform
from typing import Any

from engine import dockerfile
from engine.container import signal_number
from engine.dockerfile import Instruction
from engine.errors import bad_request


def default_platform() -> str:
    """Return this machine's platform in Docker's notation."""
    machine = platform.machine()
    return f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def configure(one: Instruction, config: dict[str, Any], scope: dict[str, str], last: str) -> str:
    """Apply an instruction to the configuration and return its text for the history. Raises Refused."""
    if one.word == "ENV":
        found = dockerfile.pairs(one.rest, scope)
        current = dict(entry.split("=", 1) for entry in config.get("Env") or [])
        current.update(found)
        config["Env"] = [f"{name}={value}" for name, value in current.items()]
        return "ENV " + " ".join(f"{name}={value}" for name, value in found)
    if one.word == "LABEL":
        labels = dockerfile.pairs(one.rest, scope)
        config["Labels"] = {**(config.get("Labels") or {}), **dict(labels)}
        return "LABEL " + " ".join(f"{name}={value}" for name, value in labels)
    if one.word in ("CMD", "ENTRYPOINT"):
        listed = dockerfile.json_form(one.rest)
        argv = (
            listed
            if listed is not None
            else [*(config.get("Shell") or ["/bin/sh", "-c"]), *([one.rest] if one.rest else [])]
        )
        config["Cmd" if one.word == "CMD" else "Entrypoint"] = argv
        if one.word == "ENTRYPOINT" and "CMD [" not in last:
            config["Cmd"] = None
        return f"{one.word} [{' '.join(json.dumps(part) for part in argv)}]"
    if one.word == "USER":
        config["User"] = "".join(dockerfile.words(one.rest, scope, split=False))
        return f"USER {config['User']}"
    if one.word == "EXPOSE":
        ports = dockerfile.words(one.rest, scope)
        config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **{dockerfile.port(port): {} for port in ports}}
        return f"EXPOSE {' '.join(sorted(ports))}"
    if one.word == "VOLUME":
        listed = dockerfile.json_form(one.rest)
        places = listed if listed is not None else dockerfile.words(one.rest, scope)
        config["Volumes"] = {**(config.get("Volumes") or {}), **{place: {} for place in places}}
        return f"VOLUME [{' '.join(places)}]"
    if one.word == "SHELL":
        listed = dockerfile.json_form(one.rest)
        if not listed:
            raise bad_request("SHELL requires the arguments to be in JSON form")
        config["Shell"] = listed
        return f"SHELL [{' '.join(listed)}]"
    if one.word == "STOPSIGNAL":
        text = "".join(dockerfile.words(one.rest, scope, split=False))
        signal_number(text)
        config["StopSignal"] = text
        return f"STOPSIGNAL {text}"
    if one.word == "MAINTAINER":
        return f"MAINTAINER {one.rest}"
    config["Healthcheck"] = check = dockerfile.healthcheck(one)
    test = " ".join(json.dumps(part) for part in check["Test"])
    times = " ".join(
        json.dumps(dockerfile.duration(check.get(name, 0))) for name in ("Interval", "Timeout", "StartPeriod")
    )
    return f"HEALTHCHECK &{{[{test}] {times} '\\x{check.get('Retries', 0):02x}'}}"
