"""Read the installed packages of an image from its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO

from sandbox.scanner import package_lists
from sandbox.scanner.layers import Tree, stack
from sandbox.scanner.limits import Budget, Limits
from sandbox.scanner.package_lists import OperatingSystem


class Unsupported(ValueError):
    """The image has no operating system that this scanner supports; Google reports FINISHED_UNSUPPORTED."""


@dataclass(frozen=True)
class Package:
    """One package, with its name in advisories.

    Attributes:
        kind: OS or PYPI, Google's package types.
        name: Debian's source package, or the Python distribution's own spelling.
        layer: the layer that installed this version, where 0 is the lowest; -1 if unknown.
        path: absolute path of the package list that contains it.
        binaries: the installed Debian packages that were built from it.
    """

    kind: str
    name: str
    version: str
    layer: int = -1
    path: str = ""
    binaries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inventory:
    """The OS and every package, sorted by kind and name."""

    system: OperatingSystem
    packages: tuple[Package, ...]


def read(layers: Sequence[Callable[[], AbstractContextManager[IO[bytes]]]], limits: Limits | None = None) -> Inventory:
    """Return the inventory of an image.

    Args:
        layers: each opens a layer's blob, lowest first.

    Raises:
        Unsupported: if there is no os-release, or the package manager is not dpkg.
        LayerUnreadable, LimitExceeded: by `sandbox.scanner.tar_reader`.
    """
    tree = stack(layers, Budget(limits or Limits()), package_lists.is_list)
    releases = [file.content for path in package_lists.OS_RELEASE if (file := tree.read(path))]
    system = next(filter(None, map(package_lists.operating_system, releases)), None)
    if system is None:
        raise Unsupported("the image has no operating system: no os-release in it")
    foreign = [path for path in package_lists.OTHER_LISTS if tree.read(path)]
    debian = _debian(tree)
    if foreign and not debian:
        raise Unsupported(f"the packages of {system.id} are not ones that this scanner reads (/{foreign[0]})")
    packages = [*debian, *_python(tree)]
    return Inventory(system, tuple(sorted(packages, key=lambda one: (one.kind, one.name.lower(), one.version))))


def _debian(tree: Tree) -> list[Package]:
    """Return source packages, each with the first layer whose list has this version of a binary package."""
    since: dict[tuple[str, str], int] = {}
    for file in tree.history(package_lists.DPKG_STATUS):
        known = {(one.name, one.version) for one in package_lists.debian(file.content)}
        since = {key: since.get(key, file.layer) for key in known}
    found: dict[tuple[str, str], tuple[int, str, list[str]]] = {}
    for path in tree.paths():
        single = path.startswith(package_lists.DPKG_STATUS_FOLDER)
        if path != package_lists.DPKG_STATUS and not single:
            continue
        status = tree.read(path)
        for one in package_lists.debian(status.content, single=single) if status else ():
            layer = since.get((one.name, one.version), status.layer if status else -1)
            _, _, binaries = found.setdefault((one.source, one.source_version), (layer, f"/{path}", []))
            binaries.append(one.name)
    return [
        Package("OS", name, version, layer, path, tuple(sorted(set(binaries))))
        for (name, version), (layer, path, binaries) in found.items()
    ]


def _python(tree: Tree) -> list[Package]:
    found = []
    seen: set[tuple[str, str, str]] = set()
    for path in tree.paths():
        file = tree.read(path) if package_lists.is_python(path) else None
        named = package_lists.python(file.content) if file else None
        if file is None or named is None:
            continue
        # An environment with a link to it is found twice.
        key = (file.path, *named)
        if key not in seen:
            seen.add(key)
            found.append(Package("PYPI", named[0], named[1], file.layer, f"/{file.path}"))
    return found
