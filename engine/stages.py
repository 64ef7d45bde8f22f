"""The options of a build, and the state of its stages."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import trees
from engine.runs import now
from engine.store import Layer
from engine.trees import Notes, Seen

# Build arguments that need no ARG.
PREDEFINED = frozenset(
    one for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for one in (name, name.lower())
)


@dataclass
class Options:
    """The options of `docker build`."""

    dockerfile: str = "Dockerfile"
    tags: list[str] = field(default_factory=list)
    arguments: dict[str, str | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    no_cache: bool = False
    pull: bool = False
    quiet: bool = False
    hosts: list[str] = field(default_factory=list)
    auths: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Stage:
    """A stage that is being built.

    Attributes:
        tree: its files; None until a step needs them.
        notes: owners and modes in the tree that the disk can't store.
        seen: the state of the tree after its last step; None if unknown.
    """

    name: str
    layers: list[Layer]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    steps: list[str]
    image: str
    architecture: str
    arguments: dict[str, str] = field(default_factory=dict)
    tree: Path | None = None
    notes: Notes = field(default_factory=dict)
    seen: Seen | None = None
    cached: bool = True
    author: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of its configuration."""
        return dict(one.split("=", 1) for one in self.config.get("Env") or [] if "=" in one)

    @property
    def nop(self) -> str:
        """The prefix that Docker's history has for steps that run no command."""
        return " ".join([*(self.config.get("Shell") or ["/bin/sh", "-c"]), "#(nop)"])

    def base_length(self, images: Container[str]) -> int:
        """Return how many layers the stage began with. `images` holds the ids of all images."""
        length = next((n for n in range(len(self.steps), 0, -1) if self.steps[n - 1] in images), 0)
        return sum(1 for line in self.history[:length] if not line.get("empty_layer"))

    def document(self) -> bytes:
        """Return the configuration of an image of the stage in its present state."""
        config = {key: value for key, value in self.config.items() if value not in (None, "", {}, [])}
        document = {
            "architecture": self.architecture,
            "config": config,
            "created": self.history[-1]["created"] if self.history else now(),
            "history": self.history,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff for layer in self.layers]},
        }
        if self.author:
            document["author"] = self.author
        return json.dumps(document, separators=(",", ":")).encode()


def borrow_names(root: Path) -> dict[Path, bytes | None]:
    """Write the machine's files for resolving names into a tree, and return what they replace."""
    kept: dict[Path, bytes | None] = {}
    etc = trees.resolve(root, "etc", last=True)
    etc.mkdir(exist_ok=True)
    for name in ("resolv.conf", "hosts"):
        target, source = etc / name, Path("/etc") / name
        kept[target] = target.read_bytes() if target.is_file() and not target.is_symlink() else None
        target.unlink(missing_ok=True)
        if source.exists():
            target.write_bytes(source.read_bytes())
    return kept
