"""The trees that COPY and ADD copy from: the context, another stage, or an image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import copying
from engine.store import Layer, Store
from engine.trees import Notes


@dataclass(frozen=True)
class Origin:
    """A tree to copy from. It is laid out only when its files are needed, since an image has thousands of them.

    Attributes:
        layers: the tree's layers; None for the context, which may have changed since the last build.
        lay_out: makes the tree unless it is there already; returns it with its notes.
    """

    layers: Sequence[Layer] | None
    lay_out: Callable[[], tuple[Path, Notes]]

    def fingerprint(self, store: Store, patterns: Sequence[str]) -> tuple[str, str]:
        """Return a digest of the files that match the patterns, and their kind in Docker's history.

        The kind is `file`, `dir` or `multi`. Raises Refused if a pattern matches nothing.
        """
        if self.layers is None:
            return self._look(patterns)
        made_of = json.dumps([[layer.diff for layer in self.layers], list(patterns)])
        key = hashlib.sha256(made_of.encode()).hexdigest()
        if key not in store.fingerprints:
            store.fingerprints[key] = self._look(patterns)
        return store.fingerprints[key]

    def _look(self, patterns: Sequence[str]) -> tuple[str, str]:
        root, _ = self.lay_out()
        chosen = copying.sources(root, patterns)
        kind = "multi" if len(chosen) > 1 else "dir" if chosen[0].path.is_dir() else "file"
        return copying.fingerprint(chosen), kind
