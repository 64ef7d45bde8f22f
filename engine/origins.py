"""Where COPY and ADD take files from: the context, another stage, or an image."""

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
    """A tree to copy from, which is laid out only when its files are needed: that of an image has thousands.

    Attributes:
        layers: what the tree is made of; None for the context, which may have changed since the last build.
        lay_out: makes the tree where it isn't there yet; returns it, and what its disk can't say.
    """

    layers: Sequence[Layer] | None
    lay_out: Callable[[], tuple[Path, Notes]]

    def fingerprint(self, store: Store, patterns: Sequence[str]) -> tuple[str, str]:
        """Return the digest of the files that the patterns mean, and what docker calls them: `file`, `dir`, `multi`.

        Raises Refused for what isn't there.
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
