"""`repositories.npmPackages`: one for each version of a package, with its dist-tags.

Source: facts/artifact-registry.md 1.1; google/devtools/artifactregistry/v1/artifact.proto, NpmPackage.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sandbox.artifact_registry import catalog, format_versions
from sandbox.artifact_registry.names import escape


def _render(version: catalog.Version) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "name": f"{version.repository}/npmPackages/{escape(version.package)}:{escape(version.digest)}",
        "packageName": version.package,
        "version": version.digest,
        "createTime": version.create_time,
        "updateTime": version.update_time,
    }
    return answer | ({"tags": list(version.tags)} if version.tags else {})


def _rendered(
    rows: sqlite3.Connection, found: Sequence[sqlite3.Row], _repository: catalog.Repository
) -> list[dict[str, Any]]:
    return [_render(version) for version in catalog.with_tags(rows, found)]


METHODS = format_versions.methods(
    "npmPackages", "npm_package", "NPM", "SELECT * FROM versions WHERE repository = ?", _rendered
)
