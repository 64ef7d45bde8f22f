"""Parse the names of packages and of distribution files. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion

# Letters, digits and the signs of versions and tags; no slash, and no dot at the beginning.
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,254}")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Distribution:
    """A wheel or a source distribution.

    Attributes:
        package: the normalised name of PEP 503.
        version: the normalised version of PEP 440.
    """

    file: str
    package: str
    version: str

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel rather than a source distribution."""
        return self.file.endswith(".whl")


def normalised(name: str) -> str | None:
    """Return a package's name as PEP 503 normalises it, or None if it is invalid."""
    return str(canonicalize_name(name)) if _NAME.fullmatch(name) else None


def parse(file: str) -> Distribution | None:
    """Parse the name of a wheel or of a source distribution; None for any other name."""
    if not _FILE.fullmatch(file):
        return None
    try:
        if file.endswith(".whl"):
            package, version, _, _ = parse_wheel_filename(file)
        else:
            package, version = parse_sdist_filename(file)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    return Distribution(file, str(package), str(version))
