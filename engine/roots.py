"""The folders that containers get as their root: copies of images' trees, the last used of which are kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from engine import trees
from engine.errors import Refused
from engine.store import Layer, Store, remove_tree
from engine.trees import Notes

# Unpacked trees are kept for the next container. Beyond this limit the least recently used are deleted.
KEPT_BYTES = 700 * 1024**2


class Roots:
    """The unpacked trees of a store. No process runs in them: each container gets a copy."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.root / "roots"
        self._gate = threading.Lock()
        for left in self._folder.iterdir():
            if not (left / "complete").exists():
                remove_tree(left)

    def make(self, layers: Sequence[Layer], target: Path, *, keep: bool = True) -> Notes:
        """Make a tree of these layers at `target`, which must not exist, and return its notes."""
        with self._gate:
            if not layers:
                target.mkdir()
                return {}
            length = next((n for n in range(len(layers), 0, -1) if self._is_kept(layers[:n])), 0)
            if length < len(layers) and keep:
                self._keep(layers, length)
                length = len(layers)
            if not length:
                target.mkdir()
            notes = self._copy(layers[:length], target) if length else {}
            for layer in layers[length:]:
                trees.apply(self._store, layer, target, notes)
            return notes

    def size(self) -> int:
        """Return the size of the kept trees in bytes."""
        return sum(int((one / "complete").read_text()) for one in self._folder.iterdir() if (one / "complete").exists())

    def clear(self) -> None:
        """Delete all kept trees."""
        with self._gate:
            for one in self._folder.iterdir():
                self._store.give_up(one)

    def _place(self, layers: Sequence[Layer]) -> Path:
        return self._folder / hashlib.sha256("/".join(layer.diff for layer in layers).encode()).hexdigest()[:24]

    def _is_kept(self, layers: Sequence[Layer]) -> bool:
        return (self._place(layers) / "complete").exists()

    def _copy(self, layers: Sequence[Layer], target: Path) -> Notes:
        place = self._place(layers)
        os.utime(place / "complete")
        copy(place / "tree", target)
        found = json.loads((place / "notes.json").read_text())
        return {name: (entry[0], entry[1], entry[2]) for name, entry in found.items()}

    def _keep(self, layers: Sequence[Layer], length: int) -> None:
        place = self._place(layers)
        remove_tree(place)
        place.mkdir()
        try:
            notes: Notes = {}
            if length:
                notes = self._copy(layers[:length], place / "tree")
            else:
                (place / "tree").mkdir()
            for layer in layers[length:]:
                trees.apply(self._store, layer, place / "tree", notes)
        except BaseException:
            remove_tree(place)
            raise
        (place / "notes.json").write_text(json.dumps(notes))
        size = 0
        for folder, _, files in os.walk(place / "tree"):
            for name in files:
                with contextlib.suppress(OSError):
                    size += os.lstat(os.path.join(folder, name)).st_blocks * 512
        (place / "complete").write_text(str(size))
        self._shrink(place)

    def _shrink(self, newest: Path) -> None:
        kept = [one for one in self._folder.iterdir() if (one / "complete").exists() and one != newest]
        kept.sort(key=lambda one: (one / "complete").stat().st_mtime, reverse=True)
        total = int((newest / "complete").read_text())
        for one in kept:
            total += int((one / "complete").read_text())
            if total > KEPT_BYTES:
                self._store.give_up(one)


def copy(source: Path, target: Path) -> None:
    """Copy a tree with owners, modes, times and links. Raises Refused."""
    done = subprocess.run(
        ["cp", "-a", "--reflink=auto", os.fspath(source), os.fspath(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        remove_tree(target)
        raise Refused(f"a root file system can't be copied: {done.stderr.strip().splitlines()[-1]}")
