"""The version order of each ecosystem: PEP 440, Debian's, semantic versions.

Sources: https://peps.python.org/pep-0440/ (packaging), deb-version(7) and https://semver.org (univers).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from packaging.version import InvalidVersion, Version
from univers.versions import DebianVersion, SemverVersion

_LONGEST: Final = 1024  # characters; Python converts at most 4300 digits into a number


class NoOrder(ValueError):
    """The text is not a version of the ecosystem, or the ecosystem is unknown."""


def _pep_440(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise NoOrder(str(error)) from None


def _univers(kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except (ValueError, AttributeError, TypeError) as error:
            raise NoOrder(f"{text!r} is no {kind.__name__}: {error}") from None

    return read


_ORDERS: Final[dict[str, Callable[[str], Any]]] = {
    "PyPI": _pep_440,
    "Debian": _univers(DebianVersion),
    "Ubuntu": _univers(DebianVersion),
    "npm": _univers(SemverVersion),
    "Go": _univers(SemverVersion),
    "crates.io": _univers(SemverVersion),
}


def key(ecosystem: str, version: str) -> Any:
    """Return a sort key for a version.

    Args:
        ecosystem: OSV's: `PyPI`, `Debian:12`, `npm`. A release after the colon is ignored.

    Raises:
        NoOrder: if the ecosystem is unknown, or the text is not a version.
    """
    order = _ORDERS.get(ecosystem.partition(":")[0])
    if order is None:
        raise NoOrder(f"no version order is known for {ecosystem}")
    if len(version) > _LONGEST:
        raise NoOrder(f"{version[:40]!r}... is longer than any version")
    return order(version.strip())
