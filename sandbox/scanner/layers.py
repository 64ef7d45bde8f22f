"""Combine the layers of an image, with whiteouts, keeping only the package lists.

Source: OCI image-spec 1.1 layer.md, "Applying Changesets" and "Whiteouts".
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Final

from sandbox.scanner.limits import PLACE, Budget
from sandbox.scanner.tar_reader import entries

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_HOPS: Final = 8  # links in a chain


@dataclass(frozen=True)
class File:
    """A file in the container.

    Attributes:
        layer: the layer that contains it, where 0 is the lowest.
    """

    path: str
    content: bytes
    layer: int


@dataclass
class Tree:
    """The wanted files after all layers; `earlier` has the replaced versions of a file, oldest first."""

    files: dict[str, File] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, list[File]] = field(default_factory=dict)

    def read(self, path: str) -> File | None:
        """Return a file by its path, following links inside the root, or None."""
        for _ in range(_HOPS):
            if path in self.files:
                return self.files[path]
            if path not in self.links:
                return None
            path = _target(path, self.links[path])
        return None

    def history(self, path: str) -> list[File]:
        """Return every version of a file, oldest first."""
        now = self.files.get(path)
        return [*self.earlier.get(path, ()), *([now] if now else [])]

    def paths(self) -> list[str]:
        """Return the paths of files and links, sorted."""
        return sorted({*self.files, *self.links})


def stack(
    layers: Iterable[Callable[[], AbstractContextManager[IO[bytes]]]], budget: Budget, wanted: Callable[[str], bool]
) -> Tree:
    """Combine layers.

    Args:
        layers: each opens a layer's blob, lowest first.
        wanted: whether a path may be a package list.

    Raises:
        LayerUnreadable, LimitExceeded: by `sandbox.scanner.tar_reader.entries`.
    """
    tree = Tree()
    for number, opened in enumerate(layers):
        with opened() as blob:
            _apply(tree, number, blob, budget, wanted)
    return tree


def _apply(tree: Tree, number: int, blob: IO[bytes], budget: Budget, wanted: Callable[[str], bool]) -> None:
    files: dict[str, File] = {}
    links: dict[str, str] = {}
    held = {*tree.files, *tree.links}
    parents = {parent for path in held for parent in _parents(path)}
    for entry in entries(blob, budget, wanted):
        folder, _, name = entry.path.rpartition("/")
        if name == _OPAQUE:
            _remove_under(tree, folder)
        elif name.startswith(_WHITEOUT):
            _remove(tree, posixpath.join(folder, name[len(_WHITEOUT) :]))
        else:
            # Everything but a directory replaces an existing entry, including a directory and its content.
            replaced = entry.path in held or (entry.kind != "directory" and entry.path in parents)
            if replaced:
                _remove(tree, entry.path)
            files.pop(entry.path, None)
            links.pop(entry.path, None)
            if entry.content is not None:
                files[entry.path] = File(entry.path, entry.content, number)
            elif entry.kind in ("symlink", "hardlink") and wanted(entry.path):
                budget.spend(kept=PLACE)
                # A hard link's target is relative to the root.
                links[entry.path] = entry.link if entry.kind == "symlink" else f"/{entry.link}"
    tree.files |= files
    tree.links |= links


def _remove(tree: Tree, path: str) -> None:
    _forget(tree, path)
    _remove_under(tree, path)


def _remove_under(tree: Tree, folder: str) -> None:
    inside = f"{folder}/" if folder else ""
    for path in [path for path in (*tree.files, *tree.links) if path.startswith(inside)]:
        _forget(tree, path)


def _forget(tree: Tree, path: str) -> None:
    tree.links.pop(path, None)
    file = tree.files.pop(path, None)
    if file:
        tree.earlier.setdefault(path, []).append(file)


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _target(path: str, link: str) -> str:
    """Return the target of a link. As in a container, `..` at the root is the root."""
    start = "/" if link.startswith("/") else posixpath.dirname(f"/{path}")
    return posixpath.normpath(posixpath.join(start, link.lstrip("/"))).lstrip("/")
