#!/usr/bin/env python3
"""The `docker` command inside a build step: rewrites the arguments, then runs the real command.

Google's registry names get the sandbox's address. On Google a build has a machine and an engine of its own. Here
builds share an engine, so container names get the build's id as a suffix, and containers get the build's labels. This
file imports nothing of the sandbox, because it runs in the step's container.
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
STEP_NETWORK = os.environ.get("SANDBOX_STEP_NETWORK", "cloudbuild")
# This machine's platform, if it can't run linux/amd64, which builds for Cloud Run name.
PLATFORM = os.environ.get("SANDBOX_PLATFORM", "")
NAMES = Path("/builder/home/.container-names")
GLOBAL = ("--config", "-H", "--host", "-c", "--context", "-l", "--log-level")
NAMING = ("exec", "logs", "rm", "stop", "kill", "inspect", "wait", "port", "start", "cp", "top", "stats", "attach")
HOST = re.compile(r"(?<![\w./:-])((?:[a-z0-9-]+-docker\.pkg\.dev|docker\.[a-z0-9-]+\.rep\.pkg\.dev)(?:/|$))")


def known() -> set[str]:
    """Return the container names that this build uses."""
    try:
        return set(NAMES.read_text().split())
    except OSError:
        return set()


def remember(name: str) -> None:
    """Add a container's name to those that this build uses."""
    with NAMES.open("a") as file:
        file.write(name + "\n")


def rewrite(arguments: list[str]) -> list[str]:
    """Return the arguments for the real command."""
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
        # The arguments after the container's name belong to the program that it runs.
        last = next((number for number, one in enumerate(rest) if one in names), 0) + 1 if verb == "exec" else len(rest)
        rest = [own(argument, names) for argument in rest[:last]] + rest[last:]
    elif verb == "build":
        # Also tag with Google's own name, which tools that read the engine's images look for, such as a scanner.
        head += google_tags(arguments)
        rest = networked(rest) if NETWORK else [STEP_NETWORK if one == "cloudbuild" else one for one in rest]
    return head + rest


def for_this_machine(arguments: list[str]) -> list[str]:
    """Return the arguments with this machine's platform instead of linux/amd64."""
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
    """Return options that also tag a build's image with Google's own names."""
    found: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name = argument.removeprefix("--tag=") if argument.startswith("--tag=") else argument
        if HOST.match(name) and (before in ("-t", "--tag") or name != argument):
            found += ["--tag", name]
    return found


def own(argument: str, names: set[str]) -> str:
    """Return an argument with the container's name in it, if any, replaced by this build's name for it.

    `cp` takes a name as `NAME:PATH`.
    """
    name, colon, path = argument.partition(":")
    return f"{name}-{BUILD}{colon}{path}" if name in names else argument


def named(rest: list[str]) -> list[str]:
    """Return the arguments of `run` with this build's container name and network."""
    result: list[str] = []
    name, on_step_network = "", False
    for place, argument in enumerate(rest):
        before = rest[place - 1] if place else ""
        if before == "--name" or argument.startswith("--name="):
            name = argument.removeprefix("--name=")
            argument = f"{argument}-{BUILD}"
        elif before in ("--network", "--net") and argument == "cloudbuild":
            argument, on_step_network = STEP_NETWORK, True
        elif argument in ("--network=cloudbuild", "--net=cloudbuild"):
            argument, on_step_network = f"--network={STEP_NETWORK}", True
        result.append(argument)
    if name:
        remember(name)
        # On the build's network, other containers still find it under the name without the suffix.
        return [*(("--network-alias", name) if on_step_network and STEP_NETWORK != "host" else ()), *result]
    return result


def networked(rest: list[str]) -> list[str]:
    """Return the arguments of `build` with the network on which the sandbox is reachable."""
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
    os.execv(REAL, [REAL, *final])  # noqa: S606 - this process becomes the real command
