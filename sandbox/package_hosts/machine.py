"""Find the public upstream of each format in the settings of this machine's clients, which may name a mirror."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

from sandbox.artifact_registry.upstream_calls import Unreachable
from sandbox.state.world import World

_SECONDS = 30


def pypi(_world: World) -> str:
    """Return the index that pip uses."""
    if named := os.environ.get("PIP_INDEX_URL", ""):
        return named
    default = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    return _output(sys.executable, "-m", "pip", "config", "get", "global.index-url") or _output(
        sys.executable, "-c", default
    )


def npmjs(_world: World) -> str:
    """Return the registry that npm uses.

    Raises:
        Unreachable: if npm is not installed.
    """
    npm = shutil.which("npm")
    found = _output(npm, "config", "get", "registry") if npm else ""
    if not found:
        raise Unreachable("no npm is on this machine, whose settings would name the registry")
    return found


def maven_central(_world: World) -> str:
    """Return the mirror of `central` in Maven's settings, the user's before the installation's, or else `central`.

    Raises:
        Unreachable: if the settings name no mirror and Maven is not installed.
    """
    mvn = shutil.which("mvn")
    home = Path(mvn).resolve().parents[1] if mvn else None
    settings = [Path.home() / ".m2" / "settings.xml", *([home / "conf" / "settings.xml"] if home else ())]
    for path in settings:
        if path.is_file() and (found := mirror_of_central(path.read_bytes())):
            return found
    for jar in sorted(home.glob("lib/maven-model-builder-*.jar")) if home else ():
        with zipfile.ZipFile(jar) as archive:
            root = ET.fromstring(archive.read("org/apache/maven/model/pom-4.0.0.xml"))  # noqa: S314 - Maven's own
        for repository in root.iterfind("{*}repositories/{*}repository"):
            if repository.findtext("{*}id") == "central":
                return (repository.findtext("{*}url") or "").strip()
    raise Unreachable("no Maven is on this machine, whose settings would name Maven Central or a mirror of it")


def mirror_of_central(settings: bytes) -> str:
    """Return the address of the first mirror of `central`; empty if there is none.

    https://maven.apache.org/guides/mini/guide-mirror-settings.html
    """
    try:
        root = ET.fromstring(settings)  # noqa: S314 - the user's own file
    except ET.ParseError:
        return ""
    for mirror in root.iterfind("{*}mirrors/{*}mirror"):
        patterns = [one.strip() for one in (mirror.findtext("{*}mirrorOf") or "").split(",")]
        matches = {"central", "*", "external:*"} & set(patterns) and "!central" not in patterns
        if matches and mirror.findtext("{*}blocked") != "true":
            return (mirror.findtext("{*}url") or "").strip()
    return ""


def _output(*command: str) -> str:
    # Run in the user's home: pip and npm also read settings of the working folder, which is the course here.
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        cwd=Path.home(),
        stdin=subprocess.DEVNULL,
    )
    return ran.stdout.strip() if ran.returncode == 0 else ""
