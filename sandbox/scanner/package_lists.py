"""Parse the package lists in an image: os-release, dpkg's status, Python's distributions.

Sources: os-release(5); deb-control(5) and dpkg's status file; the core metadata of Python distributions,
https://packaging.python.org/en/latest/specifications/core-metadata/.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SOURCE: Final = re.compile(r"(?P<name>\S+)(?:\s+\((?P<version>[^)]+)\))?")
_PYTHON: Final = re.compile(
    r"(?:.*/)?[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO|egg-info|egg/EGG-INFO/PKG-INFO)", re.ASCII
)
_HEADERS: Final = 64 << 10  # bytes of a METADATA file that may contain name and version

OS_RELEASE: Final = ("etc/os-release", "usr/lib/os-release")
DPKG_STATUS: Final = "var/lib/dpkg/status"
DPKG_STATUS_FOLDER: Final = "var/lib/dpkg/status.d/"  # one file for each package, in images without dpkg
OTHER_LISTS: Final = (
    "lib/apk/db/installed",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages",
    "usr/lib/sysimage/rpm",
)


@dataclass(frozen=True)
class OperatingSystem:
    """A distribution's id and version: `debian`, `12`."""

    id: str
    version: str

    @property
    def cpe(self) -> str:
        """The CPE in the form of Google's extractor: `cpe:/o:debian:debian_linux:12`."""
        product = {"debian": "debian:debian_linux", "ubuntu": "canonical:ubuntu_linux"}.get(self.id)
        return f"cpe:/o:{product or f'{self.id}:{self.id}'}:{self.version}"


@dataclass(frozen=True)
class DebianPackage:
    """An installed binary package, and the source package that it was built from."""

    name: str
    version: str
    source: str
    source_version: str


def is_list(path: str) -> bool:
    """Return whether the file at a path, relative to the image's root, may be a package list."""
    return (
        path in OS_RELEASE
        or path == DPKG_STATUS
        or (path.startswith(DPKG_STATUS_FOLDER) and not path.endswith(".md5sums"))
        or path in OTHER_LISTS
        or is_python(path)
    )


def is_python(path: str) -> bool:
    """Return whether a path is the metadata of a Python distribution, in any environment."""
    return _PYTHON.fullmatch(path) is not None


def operating_system(content: bytes) -> OperatingSystem | None:
    """Return the operating system in an os-release file, or None if the file has no ID."""
    values: dict[str, str] = {}
    for line in content.decode(errors="replace").splitlines():
        key, sign, value = line.strip().partition("=")
        if sign and not key.startswith("#"):
            try:
                values[key] = "".join(shlex.split(value))
            except ValueError:
                values[key] = value
    return OperatingSystem(values["ID"], values.get("VERSION_ID", "")) if values.get("ID") else None


def debian(content: bytes, *, single: bool = False) -> Iterator[DebianPackage]:
    """Yield the installed packages in a status file, without those that were removed (`config-files`).

    Args:
        single: whether it is a file of `status.d`, which has no Status line.
    """
    for paragraph in re.split(r"\n[ \t]*\n", content.decode(errors="replace")):
        fields = dict(re.findall(r"(?m)^([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)$", paragraph))
        name, version = fields.get("Package", "").strip(), fields.get("Version", "").strip()
        state = fields.get("Status", "").split()
        # dpkg(1): the third word; half-configured packages are on the disk too.
        there = single or (len(state) == 3 and state[2] not in ("not-installed", "config-files"))
        if not name or not version or not there:
            continue
        source = _SOURCE.match(fields.get("Source", ""))
        yield DebianPackage(
            name, version, source["name"] if source else name, (source["version"] if source else None) or version
        )


def python(content: bytes) -> tuple[str, str] | None:
    """Return the name and version of a distribution, or None if one is missing."""
    found: dict[str, str] = {}
    for line in content[:_HEADERS].decode(errors="replace").splitlines():
        if not line.strip():
            break
        key, sign, value = line.partition(":")
        if sign and key.lower() in ("name", "version"):
            found.setdefault(key.lower(), value.strip())
    if found.get("name") and found.get("version"):
        return found["name"], found["version"]
    return None
