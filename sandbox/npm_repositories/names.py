"""Names, versions and tags of npm packages. Pure.

https://docs.npmjs.com/cli/configuring-npm/package-json#name, https://semver.org, and npm's dist-tag command: a tag
must not be a valid range of versions.
"""

from __future__ import annotations

import re

_PART = r"[a-z0-9~-][a-z0-9._~-]*"
_NAME = re.compile(rf"(?:@{_PART}/)?{_PART}")
_VERSION = re.compile(
    r"(?:0|[1-9]\d{0,15})\.(?:0|[1-9]\d{0,15})\.(?:0|[1-9]\d{0,15})(?:-[0-9A-Za-z.-]{1,128})?(?:\+[0-9A-Za-z.-]{1,128})?"
)
_TAG = re.compile(r"(?!v?\d)[A-Za-z][A-Za-z0-9._-]{0,127}")
_LONGEST = 214  # characters of a name


def is_name(text: str) -> bool:
    """Return whether a text is a package's name, with its scope if it has one: `@team/model`."""
    return len(text) <= _LONGEST and _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Return whether a text is a version: three numbers, perhaps with a suffix."""
    return _VERSION.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Return whether a text can be a dist-tag."""
    return _TAG.fullmatch(text) is not None


def tarball(package: str, version: str) -> str:
    """Return the name of a version's file in the repository, for example `@team/model/-/model-1.0.0.tgz`."""
    return f"{package}/-/{package.rpartition('/')[2]}-{version}.tgz"
