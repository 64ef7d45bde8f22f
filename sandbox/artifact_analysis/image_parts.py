"""Find an image's layers, and the Dockerfile's line of each."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.artifact_analysis.occurrences import LayerFacts
from sandbox.artifact_registry import blobs, catalog, integrity
from sandbox.artifact_registry.media_types import CONFIGS, IMAGES, INDEXES
from sandbox.state.world import World

_SMALL: Final = 16 << 20  # bytes of a manifest or config


class NoImage(ValueError):
    """The version has no linux/amd64 image; the message says what it is instead."""


@dataclass(frozen=True)
class Parts:
    """The digests of the layers' blobs, lowest first, and the config's data on each."""

    layers: tuple[str, ...]
    facts: tuple[LayerFacts, ...]


def is_image(version: catalog.Version) -> bool:
    """Return whether a version is an image or an index, and not attached to one."""
    return not version.subject and version.media_type in INDEXES + IMAGES and not version.artifact_type


def find(world: World, rows: sqlite3.Connection, version: catalog.Version) -> Parts:
    """Return the parts of an image, or of an index's first linux/amd64 image, as Google's scanner does.

    Source: container-scanning-overview, facts/artifact-registry.md 4.

    Raises:
        NoImage: if there is none.
        OSError: if a blob is missing.
    """
    manifest = _json(world, version.digest)
    if version.media_type in INDEXES:
        for child in manifest.get("manifests", []):
            platform = child.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
                found = catalog.find_version(rows, version.repository, version.package, str(child.get("digest")))
                if found is not None and found.media_type in IMAGES:
                    return find(world, rows, found)
        raise NoImage("the index has no linux/amd64 image")
    config = manifest.get("config") or {}
    if config.get("mediaType") not in CONFIGS:
        raise NoImage(f"the manifest's config is {config.get('mediaType')}, not an image's")
    layers = manifest.get("layers", [])
    strange = next((str(one.get("mediaType")) for one in layers if ".tar" not in str(one.get("mediaType"))), "")
    if strange:
        # BuildKit's attestations have an image's config and no file system. unverified: how Google scans them
        raise NoImage(f"the manifest's layers are {strange}, not file systems")
    digests = tuple(str(layer.get("digest")) for layer in layers)
    return Parts(digests, _facts(_json(world, str(config.get("digest"))), len(digests)))


def _json(world: World, digest: str) -> Mapping[str, Any]:
    path = integrity.path_of(world, blobs.check_digest(digest))
    if path.stat().st_size > _SMALL:
        raise NoImage("a manifest or config is larger than 16 MiB")
    try:
        content = json.loads(blobs.read(world, digest))
    except (ValueError, RecursionError):
        raise NoImage("a manifest or config is not JSON") from None
    if not isinstance(content, dict):
        raise NoImage("a manifest or config is not a JSON object")
    return content


def _list(value: Any) -> list[Any]:
    """Return a list, or an empty one: clients can push a config with values of any type."""
    return value if isinstance(value, list) else []


def _facts(config: Mapping[str, Any], count: int) -> tuple[LayerFacts, ...]:
    """Return the facts of each layer, or none if the config's lists have another length."""
    root = config.get("rootfs") or {}
    diffs = [str(one) for one in _list(root.get("diff_ids"))] if isinstance(root, dict) else []
    history = [one for one in _list(config.get("history")) if isinstance(one, dict) and not one.get("empty_layer")]
    if len(diffs) != count:
        return ()
    lines = [_line(str(one.get("created_by") or "")) for one in history]
    commands = lines if len(lines) == count else [""] * count
    # The lowest layer's chain id is its diff id; each other one is the digest of the previous chain id and its diff id.
    chains = itertools.accumulate(diffs, lambda chain, diff: blobs.digest_of(f"{chain} {diff}".encode()))
    return tuple(LayerFacts(*each) for each in zip(diffs, chains, commands, strict=True))


def _line(text: str) -> str:
    """Return the Dockerfile's line without the builders' additions, at most 500 characters."""
    text = re.sub(r"^/bin/sh -c #\(nop\)\s*", "", text)
    text = re.sub(r"^(?:RUN )?(?:\|\d+ (?:\S+=\S* )*)?/bin/sh -c ", "RUN ", text)
    text = re.sub(r"\s+# buildkit$", "", text)
    return re.sub(r"\s+", " ", text).strip()[:500]
