#!/usr/bin/env python3
"""`docker` inside a build step: the real command, after Google's registry names got the sandbox's address.

On Google a build has a machine and an engine of its own. Here builds share one engine, so names of containers get the
build's id behind them and everything carries the build's label. It stands alone: it runs in the step's container.
"""

import os
import re
import sys
from pathlib import Path

REAL = "/usr/local/lib/docker-cli/docker"
REGISTRY = os.environ.get("SANDBOX_REGISTRY", "")
BUILD = os.environ.get("SANDBOX_BUILD", "")
LABELS = os.environ.get("SANDBOX_LABELS", "").split()
NETWORK = os.environ.get("SANDBOX_BUILD_NETWORK", "")
STEPS = os.environ.get("SANDBOX_STEP_NETWORK", "cloudbuild")
# Of this machine, where it doesn't run the platform that every build for Cloud Run names.
PLATFORM = os.environ.get("SANDBOX_PLATFORM", "")
NAMES = Path("/builder/home/.container-names")
GLOBAL = ("--config", "-H", "--host", "-c", "--context", "-l", "--log-level")
NAMING = ("exec", "logs", "rm", "stop", "kill", "inspect", "wait", "port", "start", "cp", "top", "stats", "attach")
HOST = re.compile(r"(?<![\w./:-])((?:[a-z0-9-]+-docker\.pkg\.dev|docker\.[a-z0-9-]+\.rep\.pkg\.dev)(?:/|$))")


def known() -> set[str]:
    """Return the names of containers that this build has given."""
    try:
        return set(NAMES.read_text().split())
    except OSError:
        return set()


def remember(name: str) -> None:
    """Note the name of a container that this build gives."""
    with NAMES.open("a") as file:
        file.write(name + "\n")


def rewrite(arguments: list[str]) -> list[str]:
    """Return the arguments as the real command gets them."""
    arguments = for_this_machine(arguments)
    result = [HOST.sub(rf"{REGISTRY}/\1", argument) for argument in arguments]
    verbs = [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if not argument.startswith("-") and before not in GLOBAL
    ]
    verb = verbs[0] if verbs else ""
    if verb in ("container", "image", "builder") and len(verbs) > 1:
        verb = verbs[1]
    if verb not in arguments:
        return result
    place = result.index(verb) + 1
    head, rest = result[:place], result[place:]
    if verb in ("run", "create"):
        rest = named(rest)
        head += [part for label in LABELS for part in ("--label", label)]
    elif verb == "login":
        rest = [REGISTRY if HOST.fullmatch(argument) else argument for argument in arguments[place:]]
    elif verb in NAMING:
        names = known()
        # What comes after the container's name is a program's own.
        last = next((number for number, one in enumerate(rest) if one in names), 0) + 1 if verb == "exec" else len(rest)
        rest = [own(argument, names) for argument in rest[:last]] + rest[last:]
    elif verb == "build":
        # Under Google's own name too: tools that look into the engine, as a scan does, ask for that one.
        head += google_tags(arguments)
        rest = networked(rest) if NETWORK else [STEPS if argument == "cloudbuild" else argument for argument in rest]
    return head + rest


def for_this_machine(arguments: list[str]) -> list[str]:
    """Return the arguments with the platform that this machine runs instead of linux/amd64."""
    if not PLATFORM:
        return arguments
    result: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if f"{before}={argument}" == "--platform=linux/amd64":
            argument = PLATFORM
        elif argument == "--platform=linux/amd64":
            argument = f"--platform={PLATFORM}"
        result.append(argument)
    return result


def google_tags(arguments: list[str]) -> list[str]:
    """Return options that tag a build's image with Google's own names too."""
    found: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name = argument.removeprefix("--tag=") if argument.startswith("--tag=") else argument
        if HOST.match(name) and (before in ("-t", "--tag") or name != argument):
            found += ["--tag", name]
    return found


def own(argument: str, names: set[str]) -> str:
    """Return an argument with this build's name for a container, `cp`'s `NAME:PATH` included."""
    name, colon, path = argument.partition(":")
    return f"{name}-{BUILD}{colon}{path}" if name in names else argument


def named(rest: list[str]) -> list[str]:
    """Return the arguments of `run` with a name and a network that are this build's own."""
    result: list[str] = []
    name, led = "", False
    for place, argument in enumerate(rest):
        before = rest[place - 1] if place else ""
        if before == "--name" or argument.startswith("--name="):
            name = argument.removeprefix("--name=")
            argument = f"{argument}-{BUILD}"
        elif before in ("--network", "--net") and argument == "cloudbuild":
            argument, led = STEPS, True
        elif argument in ("--network=cloudbuild", "--net=cloudbuild"):
            argument, led = f"--network={STEPS}", True
        result.append(argument)
    if name:
        remember(name)
        # On the build's network the container is still found under the name that it was given.
        return [*(("--network-alias", name) if led and STEPS != "host" else ()), *result]
    return result


def networked(rest: list[str]) -> list[str]:
    """Return the arguments of `build` with the network that reaches the sandbox."""
    result, skip = [], False
    for argument in rest:
        if skip:
            skip = False
        elif argument == "--network":
            skip = True
        elif not argument.startswith("--network="):
            result.append(argument)
    return ["--network", NETWORK, *result]


if __name__ == "__main__":
    final = rewrite(sys.argv[1:])
    os.execv(REAL, [REAL, *final])  # noqa: S606 - this program is then the real command
