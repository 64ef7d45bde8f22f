"""What a build was told, and what a stage of it is while it is built."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.runs import now
from engine.store import Layer
from engine.trees import Notes


@dataclass
class Options:
    """What `docker build` was told."""

    dockerfile: str = "Dockerfile"
    tags: list[str] = field(default_factory=list)
    arguments: dict[str, str | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    no_cache: bool = False
    pull: bool = False
    auths: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Stage:
    """A stage while it is built. `tree` is None until a step needs it; then `notes` belong to it."""

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
    cached: bool = True
    author: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that its configuration sets."""
        return dict(one.split("=", 1) for one in self.config.get("Env") or [] if "=" in one)

    def document(self) -> bytes:
        """Return the configuration of the image that the stage is now."""
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
