"""The platform of the workbook's images: linux/amd64, which Cloud Run requires, or one that this machine runs.

Where an engine doesn't run linux/amd64, or only slowly, WORKBOOK_PLATFORM=linux/arm64 builds for linux/arm64. The
lessons still name linux/amd64, as they must on Google. In a shell of the sandbox, a `docker` script of ours comes first
on the PATH. It replaces the platform, runs the real command, and prints a note.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from machine.errors import PlatformUnknown

USUAL: Final = "linux/amd64"
OTHER: Final = "linux/arm64"
WANTED: Final = "WORKBOOK_PLATFORM"
SLOW_SECONDS: Final = 3.0
# `docker build` and `docker run` take the option in both forms.
_COMMAND: Final = """\
#!/bin/sh
before= told=
for argument do
    shift
    case "$before $argument" in
    "--platform {usual}") argument={wanted} told=1 ;;
    *" --platform={usual}") argument=--platform={wanted} told=1 ;;
    esac
    before=$argument
    set -- "$@" "$argument"
done
[ -z "$told" ] || echo "{variable}: {wanted} instead of {usual}, which Cloud Run on Google wants." >&2
exec "{docker}" "$@"
"""


def wanted() -> str:
    """Return the platform to build for. Raises PlatformUnknown for one that the workbook doesn't know."""
    chosen = os.environ.get(WANTED, "").strip() or USUAL
    if chosen not in (USUAL, OTHER):
        raise PlatformUnknown(f"{WANTED} is {chosen!r}. Set it to {USUAL} or {OTHER}, or unset it.")
    return chosen


def check(client: docker.DockerClient, image: str, say: Callable[[str], None], complain: Callable[[str], None]) -> None:
    """Test once whether the engine runs the platform's programs, and print advice if it doesn't."""
    platform = wanted()
    if platform != USUAL:
        say(f"{WANTED}: images are for {platform}. The sandbox's Cloud Run takes them, Google's takes {USUAL} only.")
    native = f"linux/{client.version()['Arch']}"
    if native == platform:
        return
    reason = why_not(client, image, platform)
    if reason:
        way = f"unset {WANTED}" if native == USUAL else f"set {WANTED}={native}"
        complain(f"This machine's engine is for {native}, and {reason}. To build for it instead, {way}.")


def why_not(client: docker.DockerClient, image: str, platform: str) -> str:
    """Return why images of a platform should not be built on this engine, or ""."""
    started = time.monotonic()
    try:
        # Every engine has the network `host`, the workbook's own no other.
        client.containers.run(image, ["true"], platform=platform, remove=True, network_mode="host")
    except (DockerException, RequestException):
        return f"it does not run {platform}"
    took = time.monotonic() - started
    return f"it takes {took:.0f} s to start a program for {platform}" if took > SLOW_SECONDS else ""


def environment(folder: Path, path: str) -> dict[str, str]:
    """Return the variables for a shell of the sandbox; none for the usual platform.

    Write the `docker` script into `folder`, and put that before `path`.
    """
    platform = wanted()
    path = without(folder, path)
    found = shutil.which("docker", path=path)
    if platform == USUAL or found is None:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    command, partial = folder / "docker", folder / "docker.partial"
    text = _COMMAND.format(usual=USUAL, wanted=platform, variable=WANTED, docker=found)
    partial.write_text(text, encoding="utf-8")
    partial.chmod(0o755)
    partial.replace(command)
    return {"PATH": f"{folder}{os.pathsep}{path}", WANTED: platform}


def without(folder: Path, path: str) -> str:
    """Return a PATH without our `docker` script. Build steps get the real command."""
    return os.pathsep.join(one for one in path.split(os.pathsep) if one != str(folder))
