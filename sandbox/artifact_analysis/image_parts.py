"""An image's parts as a scan needs them: which layers, and which line of the Dockerfile made each."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.artifact_analysis.occurrences import LayerFacts
from sandbox.artifact_registry import blobs, catalog
from sandbox.artifact_registry.media_types import CONFIGS, IMAGES, INDEXES
from sandbox.state.world import World

_SMALL: Final = 16 << 20  # bytes of a manifest or config


class NoImage(ValueError):
    """The version holds no linux/amd64 image; the message says what it is instead."""


@dataclass(frozen=True)
class Parts:
    """Digests of the layers' blobs, lowest first, and what the config says of each."""

    layers: tuple[str, ...]
    facts: tuple[LayerFacts, ...]


def is_image(version: catalog.Version) -> bool:
    """Whether a version is what scanners look at: an image or an index, and nothing attached to one."""
    return not version.subject and version.media_type in INDEXES + IMAGES and not version.artifact_type


def find(world: World, rows: sqlite3.Connection, version: catalog.Version) -> Parts:
    """Return the parts of an image; of an index, those of its first linux/amd64 image.

    Google's scanner does the same (container-scanning-overview, facts/artifact-registry.md 4).

    Raises:
        NoImage: when there is none.
        OSError: when a blob is gone.
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
        # BuildKit gives an attestation an image's config and no file system. What Google's scanner says of one is
        # unverified.
        raise NoImage(f"the manifest's layers are {strange}, not file systems")
    digests = tuple(str(layer.get("digest")) for layer in layers)
    return Parts(digests, _facts(_json(world, str(config.get("digest"))), len(digests)))


def _json(world: World, digest: str) -> Mapping[str, Any]:
    path = blobs.blob_path(world, blobs.check_digest(digest))
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
    """Whoever pushes writes the config, and the registry doesn't look into it."""
    return value if isinstance(value, list) else []


def _facts(config: Mapping[str, Any], count: int) -> tuple[LayerFacts, ...]:
    """Diff ids and the history entries that made a layer; empty where the config's lists do not fit."""
    root = config.get("rootfs") or {}
    diffs = [str(one) for one in _list(root.get("diff_ids"))] if isinstance(root, dict) else []
    history = [one for one in _list(config.get("history")) if isinstance(one, dict) and not one.get("empty_layer")]
    if len(diffs) != count:
        return ()
    lines = [_line(str(one.get("created_by") or "")) for one in history]
    said = lines if len(lines) == count else [""] * count
    # The chain's digest of the lowest layer is its own; each next one hashes the chain so far with its own digest.
    chains = itertools.accumulate(diffs, lambda chain, diff: blobs.digest_of(f"{chain} {diff}".encode()))
    return tuple(LayerFacts(*each) for each in zip(diffs, chains, said, strict=True))


def _line(text: str) -> str:
    """Return the Dockerfile's line without what the builders put around it, 500 characters at most."""
    text = re.sub(r"^/bin/sh -c #\(nop\)\s*", "", text)
    text = re.sub(r"^(?:RUN )?(?:\|\d+ (?:\S+=\S* )*)?/bin/sh -c ", "RUN ", text)
    text = re.sub(r"\s+# buildkit$", "", text)
    return re.sub(r"\s+", " ", text).strip()[:500]
